"""Ends sessions when their OpenID provider says that somebody has signed out there."""

from hashlib import sha256

from django.core.cache import cache

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

REMEMBERED = 2 * (tokens.LOGOUT_FRESH + tokens.CLOCK_SKEW)  # seconds: a token of the future and one of the past


def end(provider: IdentityProvider, logout_token: str) -> int:
    """End the sessions that a logout token names, once; how many those were. Opens its own scope. Raises Refused."""
    claims = tokens.logout_token(provider, logout_token)
    token = sha256(claims["jti"].encode("utf-8", "surrogatepass")).hexdigest()
    if not cache.add(f"sso:oidc:logout:{provider.pk}:{token}", 1, REMEMBERED):
        raise Refused("replayed", "This logout token has been used already.")
    named = {"subject": claims.get("sub", ""), "session": session_of(claims)}
    known_as = {name: value for name, value in named.items() if value}
    with scope(provider.organization_id):
        ended = 0
        for user in _people(provider, known_as):
            mine = end_sessions(provider.pk, user, known_as)
            if mine:
                actor = Actor("user", str(user.pk), user.email)
                record(action=actions.SESSIONS_ENDED, actor=actor, target=person(user), metadata={"sessions": mine})
            ended += mine
    return ended


def _people(provider: IdentityProvider, known_as: dict[str, str]) -> list[User]:
    if "subject" in known_as:
        known = ExternalIdentity.objects.filter(provider=provider, subject=known_as["subject"])
        return [one.user for one in known.select_related("user")]
    came = SignIn.objects.filter(provider=provider, session_index=known_as["session"], user__isnull=False)
    return list({one.user_id: one.user for one in came.select_related("user") if one.user is not None}.values())
