"""What every template may use beside its own view's context."""

from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from tenancy.access import MemberPrincipal
from tenancy.sso.sessions import memberships_of

THEMES = {"light", "dark"}
OUTBOX_BACKEND = "capsule_cloud.lib.mail.OutboxBackend"


def has_outbox() -> bool:
    """Whether mails are kept here for developers instead of being sent."""
    return bool(settings.EMAIL_BACKEND == OUTBOX_BACKEND and settings.OUTBOX_DIR)


def shell(request: HttpRequest) -> dict[str, Any]:
    """The theme that the visitor chose ("" follows the device) and whether there is a development outbox; the person's
    organizations are looked up only where a template names them.
    """
    theme = request.COOKIES.get("theme", "")
    return {
        "theme": theme if theme in THEMES else "",
        "has_outbox": has_outbox(),
        "organizations": partial(_organizations, request),
    }


def _organizations(request: HttpRequest) -> list[MemberPrincipal]:
    # an error page may come before anybody was looked up
    return memberships_of(request) if hasattr(request, "user") else []
