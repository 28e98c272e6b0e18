"""Ends sessions when their OpenID provider says that somebody has signed out there."""

from datetime import timedelta
from hashlib import sha256

from django.db import IntegrityError, transaction
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.services import Actor, record
from tenancy.models import User
from tenancy.scope import scope
from tenancy.services.accounts import person
from tenancy.sso.models import ExternalIdentity, IdentityProvider, SignIn
from tenancy.sso.oidc import tokens
from tenancy.sso.oidc.claims import session_of
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.sessions import end_sessions

KNOWN_FOR = 2 * timedelta(seconds=tokens.LOGOUT_FRESH + tokens.CLOCK_SKEW)  # it may be of the future, too


def end(provider: IdentityProvider, logout_token: str) -> int:
    """End the sessions that a logout token names, once; how many those were. Opens its own scope. Raises Refused."""
    claims = tokens.logout_token(provider, logout_token)
    named = {"subject": claims.get("sub", ""), "session": session_of(claims)}
    known_as = {name: value for name, value in named.items() if value}
    with scope(provider.organization_id):
        people = _people(provider, known_as)
        _keep(provider, claims["jti"], named, people)
        ended = 0
        for user in people:
            mine = end_sessions(provider.pk, user, known_as)
            if mine:
                actor = Actor("user", str(user.pk), user.email)
                record(action=actions.SESSIONS_ENDED, actor=actor, target=person(user), metadata={"sessions": mine})
            ended += mine
    return ended


def _keep(provider: IdentityProvider, jti: str, named: dict[str, str], people: list[User]) -> None:
    user = people[0] if len(people) == 1 else None
    kept = SignIn(
        provider=provider,
        provider_version=provider.version,
        state=SignIn.State.ENDED,
        assertion_id="logout:" + sha256(jti.encode("utf-8", "surrogatepass")).hexdigest(),
        subject=named["subject"],
        session_index=named["session"],
        email=user.email if user else "",
        user=user,
        expires_at=timezone.now() + KNOWN_FOR,
    )
    try:
        with transaction.atomic():  # the database decides between two who bring the same token at once
            kept.save()
    except IntegrityError:
        raise Refused("replayed", "This logout token has been used already.") from None


def _people(provider: IdentityProvider, known_as: dict[str, str]) -> list[User]:
    if "subject" in known_as:
        known = ExternalIdentity.objects.filter(provider=provider, subject=known_as["subject"])
        return [one.user for one in known.select_related("user")]
    came = SignIn.objects.filter(provider=provider, session_index=known_as["session"], user__isnull=False)
    return list({one.user_id: one.user for one in came.select_related("user") if one.user is not None}.values())
