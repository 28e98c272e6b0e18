"""What every staff page is built of: rows that can be looked at and not changed, and looks that customers can read."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.contrib.admin import ModelAdmin
from django.db import transaction
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path

from admin_portal import sessions
from admin_portal.models import StaffAct, StaffSession
from tenancy.audit import actions
from tenancy.audit.services import Target, record
from tenancy.scope import scope

HIDDEN = "•••"
# A name, address, secret or link, whatever is in it
PERSONAL = re.compile(
    r"email|name|phone|address|line\d|city|postal|state_or|secret|token|url|pdf|fingerprint|last4|number|tax_id|value"
    r"|description|ip$|user_agent|shipping|billing_details|receipt|statement|nickname|cardholder"
)
# What Stripe names things by: an id, a code, a word of its own
PLAIN = re.compile(r"[a-z0-9_.\-]+|[a-z]+(_[a-z]+)*_[A-Za-z0-9]+|[A-Z]{2,3}")
KEPT = {"event_name", "name_of_meter", "lookup_key", "object", "type", "status", "value_settings"}


def session_of(request: HttpRequest) -> StaffSession:
    """The staff session that the middleware has found."""
    session: StaffSession | None = getattr(request, "staff_session", None)
    if session is None:
        raise Http404
    return session


def look(request: HttpRequest, organization_id: UUID | None, target: Target) -> None:
    """Let the organization read in its audit trail that a member of staff looked at something of its own, and why."""
    session = session_of(request)
    sessions.note(session, "looked", [target.id])
    if organization_id is not None:
        _tell(session, organization_id, target)


def look_at_list(request: HttpRequest, things: str, slugs: Mapping[UUID, str]) -> None:
    """The same for a list that shows things of these organizations (id: slug), once in a staff session for each."""
    session, act = session_of(request), f"listed {things}"
    with transaction.atomic():
        StaffSession.objects.select_for_update(no_key=True).get(pk=session.pk)  # two tabs at once
        told = {one for done in StaffAct.objects.filter(session=session, what=act) for one in done.targets}
        new = {key: slug for key, slug in slugs.items() if str(key) not in told}
        for organization_id, slug in new.items():
            _tell(session, organization_id, Target(f"stripe_{things}", slug, f"{things} of the payment service"))
        if new:
            sessions.note(session, act, [str(key) for key in new])


def _tell(session: StaffSession, organization_id: UUID, target: Target) -> None:
    with scope(organization_id):
        record(
            action=actions.STAFF_LOOKED,
            actor=sessions.actor_of(session),
            target=target,
            reason=session.reason,
        )


def redacted(value: Any, key: str = "") -> Any:
    """An object of Stripe's without what is secret or personal: ids, codes, numbers and times stay."""
    if isinstance(value, dict):
        is_personal = bool(key) and key not in KEPT and PERSONAL.search(key)
        return HIDDEN if is_personal else {name: redacted(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [redacted(one, key) for one in value]
    if not isinstance(value, str) or not value or key in KEPT:
        return value
    return HIDDEN if PERSONAL.search(key) or not PLAIN.fullmatch(value) else value


def pretty(value: Any) -> str:
    """JSON as people read it."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


class LookAdmin(ModelAdmin):  # type: ignore[type-arg]  # not generic when it runs
    """Rows that staff may look at: nothing is added, changed or deleted here."""

    list_display_links = None
    list_per_page = 50
    show_full_result_count = False
    actions: Sequence[Any] = ()

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whoever is in a staff session."""
        return self.admin_site.has_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """The same."""
        return self.admin_site.has_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """A list and a page for each row; none of Django's forms."""
        wrap = self.admin_site.admin_view
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("", wrap(self.changelist_view), name=f"{name}_changelist"),
            path("<path:object_id>/", wrap(self.show), name=f"{name}_change"),
        ]

    def show(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The page of one row."""
        raise NotImplementedError

    def page(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        """A page of this room in the site's frame."""
        frame = self.admin_site.each_context(request) | {"opts": self.opts}
        return render(request, template, frame | context)
