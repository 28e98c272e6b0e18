"""Recognises the browser that has taken a setup link, by a cookie of its own, and says who may try a provider out."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from tenancy.audit.services import Actor
from tenancy.models import User
from tenancy.roles import Right
from tenancy.sso import cookies, sessions
from tenancy.sso.models import IdentityProvider
from tenancy.sso.setup import services
from tenancy.sso.setup.services import Guest, LinkOver, LinkUnknown

COOKIE = "sso_setup"
KEY_COOKIE = "sso_setup_key"  # the link's own secret, on its way from the address to the button
KEY_AGE = timedelta(minutes=15)
SALT, KEY_SALT = "sso.setup", "sso.setup.key"


@dataclass(frozen=True, slots=True)
class Tester:
    """Who tries a provider out, and where they go on afterwards."""

    actor: Actor
    address: str


def tester(request: HttpRequest, provider: IdentityProvider) -> Tester | None:
    """Whoever may set the provider up, if that is who asks: a member with the right, or who holds a setup link."""
    if isinstance(request.user, User):
        for one in sessions.memberships_of(request):
            if one.organization_id == provider.organization_id and one.has(Right.SSO_MANAGE):
                return Tester(one.actor, reverse("sso_provider", args=[one.slug, provider.pk]))
    try:
        guest = guest_of(request)
    except LinkOver:
        return None
    if guest is None or guest.organization_id != provider.organization_id:
        return None
    return Tester(guest.actor, reverse("sso_setup_provider_guide", args=[provider.pk]))


def guest_of(request: HttpRequest) -> Guest | None:
    """Who has taken a setup link in this browser. Opens its own scope. Raises LinkOver where that is over."""
    try:
        said: dict[str, Any] = signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT, max_age=services.LIFETIME)
        return services.guest_with(
            organization_id=UUID(said["organization"]), link_id=UUID(said["link"]), kept=said["kept"]
        )
    except (signing.BadSignature, LinkUnknown):
        return None


def holds(request: HttpRequest, secret: str) -> bool:
    """Whether this browser has taken the very link that it opens again, and may go on."""
    try:
        guest = guest_of(request)
    except LinkOver:
        return False
    return guest is not None and services.is_of(guest.link, secret)


def remember(response: HttpResponse, guest: Guest, kept: str) -> None:
    """Let the browser be recognised until the link ends; the link's own secret is no longer needed."""
    said = {"organization": str(guest.organization_id), "link": str(guest.link.pk), "kept": kept}
    cookies.keep(response, COOKIE, signing.dumps(said, salt=SALT), services.LIFETIME)
    response.delete_cookie(KEY_COOKIE, path=cookies.PATH)


def carry(response: HttpResponse, secret: str) -> None:
    """Take a link's secret out of the address, until the button is pressed."""
    cookies.keep(response, KEY_COOKIE, signing.dumps(secret, salt=KEY_SALT), KEY_AGE)


def carried(request: HttpRequest) -> str:
    """The secret of the link that this browser came by a moment ago; '' without one."""
    try:
        return str(signing.loads(request.COOKIES.get(KEY_COOKIE, ""), salt=KEY_SALT, max_age=KEY_AGE))
    except signing.BadSignature:
        return ""


def forget(response: HttpResponse) -> None:
    """Let this browser be nobody's guest any more."""
    for name in (COOKIE, KEY_COOKIE):
        response.delete_cookie(name, path=cookies.PATH)
