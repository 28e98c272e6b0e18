"""Binds a browser's session to the organization whose identity provider opened it: it opens no other door.

Whoever runs an identity provider can sign in as anybody in their domains. Such a session shows that organization
alone, and changes nothing of the account, which may be at home in others too.
"""

import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any
from uuid import UUID

from allauth.account import app_settings
from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.account.utils import perform_login
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import urlencode

from tenancy.access import MemberPrincipal, memberships
from tenancy.models import User
from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers.selectors import protocol_of
from tenancy.sso.providers.sign_in import Arrived

_KEY, _VOUCHED = "sso", "capsule.vouched"  # of the session, and of the one request that opens it
_LOGINS = {IdentityProvider.Protocol.SAML: "saml_login", IdentityProvider.Protocol.OIDC: "oidc_login"}


def open_session(
    request: HttpRequest,
    arrived: Arrived,
    *,
    onward: str,
    is_again: bool = False,
    method: str = IdentityProvider.Protocol.SAML,
    known_as: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Sign in who has arrived, through allauth, so that all their sessions can be ended; then go on to a path of ours.

    A second factor of the account's own is still asked for, unless the provider's counts. `is_again`: the provider was
    told to ask who they are anew.
    `known_as`: what the provider will call this session when it ends it, see `end_sessions`.
    """
    request.session.flush()  # nothing of whoever used this browser before
    request.session[_KEY] = {
        "organization": str(arrived.organization_id),
        "provider": str(arrived.provider_id),
        "user": str(arrived.user.pk),
        "has_second_factor": arrived.has_second_factor,
        "ends_at": arrived.session_ends_at and arrived.session_ends_at.timestamp(),
        **(known_as or {}),
    }
    request.META[_VOUCHED] = arrived.has_second_factor
    again = {"reauthenticated": True} if is_again else {}
    record_authentication(request, arrived.user, method=method, provider=str(arrived.provider_id), **again)
    response: HttpResponse = perform_login(
        request, arrived.user, email_verification="none", redirect_url=onward, signal_kwargs={"sso": True}
    )
    return response


def end_sessions(provider_id: UUID, user: User, known_as: Mapping[str, str]) -> int:
    """End somebody's sessions that a provider opened and knows by all of these names; how many those were."""
    return _end(user, {"provider": str(provider_id), **known_as})


def end_sessions_in(organization_id: UUID, user: User) -> int:
    """End somebody's sessions that any provider of an organization opened; how many those were."""
    return _end(user, {"organization": str(organization_id)})


def _end(user: User, known_as: Mapping[str, str]) -> int:
    ended, store = 0, import_module(settings.SESSION_ENGINE).SessionStore
    for one in UserSession.objects.filter(user=user):
        if known_as.items() <= store(one.session_key).get(_KEY, {}).items():
            one.end()
            ended += 1
    return ended


def login_address(provider_id: UUID, onward: str, **more: str) -> str:
    """Where a browser goes on to an identity provider; it comes back to `onward`, or to `/` where that is elsewhere."""
    login = reverse(_LOGINS[protocol_of(provider_id)], args=[provider_id])
    return f"{login}?{urlencode({**more, 'next': onward})}"


def provider_of(request: HttpRequest) -> UUID | None:
    """The identity provider that opened the session; None for a session that the person opened themselves."""
    opened = _opened(request)
    return UUID(opened["provider"]) if opened else None


def _opened(request: HttpRequest) -> dict[str, Any]:
    """What a provider has opened, for whoever is signed in.

    A browser that came by one and stopped at its second factor may go on with somebody else's password: that session is
    their own.
    """
    opened: dict[str, Any] = request.session.get(_KEY, {})
    return opened if opened.get("user", str(request.user.pk)) == str(request.user.pk) else {}


def known_as(request: HttpRequest) -> dict[str, Any]:
    """What the identity provider that opened the session calls it, and all else that is kept of it; nothing without."""
    found: dict[str, Any] = request.session.get(_KEY, {})
    return found


def has_second_factor(request: HttpRequest) -> bool:
    """Whether the identity provider that opened the session has asked for a second factor, and its word counts."""
    return bool(_opened(request).get("has_second_factor"))


def is_vouched_for(request: HttpRequest) -> bool:
    """Whether this very request brings a provider's answer that spares our second factor."""
    return bool(request.META.get(_VOUCHED))


def has_ended(request: HttpRequest) -> bool:
    """Whether the session has lasted as long as the identity provider that opened it wants."""
    ends_at: float | None = _opened(request).get("ends_at")
    return ends_at is not None and ends_at <= time.time()


def age(request: HttpRequest) -> float:
    """How many seconds ago whoever is signed in last showed who they are."""
    shown = [one["at"] for one in get_authentication_records(request, request.user)]
    if not shown:  # right after they signed up
        rows = UserSession.objects.filter(session_key=request.session.session_key).values_list("created_at", flat=True)
        shown = [moment.timestamp() for moment in rows]
    return time.time() - max(shown, default=0)


def has_shown_again(request: HttpRequest) -> bool:
    """Whether whoever is signed in has shown lately who they are.

    For sessions that a provider opened: allauth lets everybody pass who has neither a password nor a second factor.
    """
    shown = [one for one in get_authentication_records(request, request.user) if one.get("reauthenticated")]
    return bool(shown) and time.time() - shown[-1]["at"] < app_settings.REAUTHENTICATION_TIMEOUT


def memberships_of(request: HttpRequest) -> list[MemberPrincipal]:
    """The organizations that this session may open: all of the person's, or the one that let them in."""
    if not isinstance(request.user, User):
        return []
    opened = _opened(request)
    mine = memberships(request.user)
    if not opened:
        return mine
    return [one for one in mine if str(one.organization_id) == opened["organization"]]
