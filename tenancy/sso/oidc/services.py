"""Writes OpenID providers: added and changed; all else that happens to a provider is in `providers.services`."""

import re
from typing import Any
from uuid import UUID

from capsule_cloud.lib import crypto, http
from tenancy.audit import actions
from tenancy.audit.services import Actor, record
from tenancy.errors import Conflict, Invalid
from tenancy.names import clean_name
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import ExternalIdentity, IdentityProvider
from tenancy.sso.oidc import discovery
from tenancy.sso.providers import selectors
from tenancy.sso.providers.services import attribute, check_role, locked, target, with_room

Protocol, TokenAuth = IdentityProvider.Protocol, IdentityProvider.TokenAuth
LONGEST_ISSUER, LONGEST_CLIENT_ID, LONGEST_SECRET, LONGEST_SCOPES = 512, 255, 1024, 255
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
FIELDS = (
    "name",
    "protocol",
    "issuer",
    "client_id",
    "client_secret",
    "token_auth_method",
    "more_scopes",
    "email_attribute",
    "name_attribute",
    "default_role",
)


def add(
    *,
    actor: Actor,
    name: str,
    issuer: str,
    client_id: str,
    client_secret: str,
    token_auth_method: str = TokenAuth.BASIC,
    more_scopes: str = "",
    provider_id: UUID | None = None,
) -> IdentityProvider:
    """An OpenID provider that nobody signs in by yet; `provider_id` is one that was reserved.

    Nobody is asked: `discover` does. Raises Invalid, LimitReached, or Conflict where the reserved one is there already.
    """
    wanted: dict[str, Any] = {
        "name": clean_name(name, "identity provider"),
        "protocol": Protocol.OIDC,
        "issuer": clean_issuer(issuer),
        "client_id": _visible("client_id", client_id, LONGEST_CLIENT_ID),
        "token_auth_method": _method(token_auth_method),
        "more_scopes": _scopes(more_scopes),
    }
    wanted["client_secret"] = _sealed(client_secret, wanted["token_auth_method"], None)
    with_room(provider_id)
    added = IdentityProvider(**({"id": provider_id} if provider_id else {}), **wanted)
    added.save(force_insert=True)
    changes = actions.PROVIDER_ADDED.changed({}, {field: getattr(added, field) for field in FIELDS})
    record(action=actions.PROVIDER_ADDED, actor=actor, target=target(added), changes=changes)
    return added


def change(
    *,
    actor: Actor,
    actor_role: Role,
    provider_id: UUID,
    name: str,
    issuer: str,
    client_id: str,
    client_secret: str,
    token_auth_method: str,
    email_attribute: str,
    name_attribute: str,
    default_role: str,
    more_scopes: str = "",
) -> IdentityProvider:
    """Change what sign-in depends on; '' keeps the client secret.

    Raises NotFound, Invalid, Forbidden, or Conflict where another issuer would make strangers of everybody.
    """
    provider = locked(provider_id, Protocol.OIDC)
    wanted: dict[str, Any] = {
        "name": clean_name(name, "identity provider"),
        "issuer": clean_issuer(issuer),
        "client_id": _visible("client_id", client_id, LONGEST_CLIENT_ID),
        "token_auth_method": _method(token_auth_method),
        "more_scopes": _scopes(more_scopes),
        "email_attribute": attribute("email_attribute", email_attribute),
        "name_attribute": attribute("name_attribute", name_attribute),
        "default_role": default_role,
    }
    if wanted["issuer"] != provider.issuer and ExternalIdentity.objects.filter(provider=provider).exists():
        raise Conflict("This is another identity provider: its subjects are other people. Add it as a new one.")
    check_role(provider, default_role, actor_role)
    wanted["client_secret"] = _sealed(client_secret, wanted["token_auth_method"], provider.client_secret)
    changes = actions.PROVIDER_CHANGED.change(provider, wanted)
    if changes:
        provider.tested_at = provider.discovered = provider.discovered_at = None
        provider.signing_keys = provider.signing_keys_at = None
        provider.version += 1
        provider.save()
        record(action=actions.PROVIDER_CHANGED, actor=actor, target=target(provider), changes=changes)
    return provider


def discover(*, organization_id: UUID, provider_id: UUID) -> discovery.Json:
    """Ask the provider now what it says of itself: for who has just entered it. No transaction may be open.

    It is the document that we keep, with endpoints and algorithms. Raises NotFound or reasons.Refused.
    """
    with scope(organization_id):
        provider = selectors.provider(provider_id)
    provider.discovered = None
    discovery.forget_failure(provider)
    return discovery.document(provider)


def clean_issuer(text: str) -> str:
    """An issuer (OpenID Connect Discovery 1.0, section 4.1). Raises Invalid, which says what to enter.

    Whoever pastes the address of the discovery document means the issuer.
    """
    issuer = text.strip().removesuffix(discovery.WELL_KNOWN)
    if not 0 < len(issuer) <= LONGEST_ISSUER or "?" in issuer or "#" in issuer:
        raise Invalid("issuer", "Enter the issuer as the identity provider shows it: https://login.example.com/…")
    try:
        http.place(issuer)
    except http.Blocked as failure:
        raise Invalid("issuer", str(failure)) from None
    return issuer


def _scopes(text: str) -> str:
    """Scopes beside those that are always asked for, each once, with blanks between them (RFC 6749, section 3.3)."""
    scopes = list(dict.fromkeys(text.split()))
    if not all(_SCOPE.fullmatch(one) for one in scopes) or len(" ".join(scopes)) > LONGEST_SCOPES:
        raise Invalid("more_scopes", "Write scopes with blanks between them, such as: groups")
    return " ".join(scopes)


def _method(text: str) -> IdentityProvider.TokenAuth:
    if text not in TokenAuth.values:
        raise Invalid("token_auth_method", f"Choose one of {', '.join(TokenAuth.values)}.")
    return TokenAuth(text)


def _sealed(secret: str, method: IdentityProvider.TokenAuth, kept: Any) -> Any:
    """The client secret as it is stored; a public client has none."""
    if method == TokenAuth.NONE:
        if secret:
            raise Invalid("client_secret", "A public client has no secret: leave it empty, or choose another method.")
        return None
    if not secret and kept is not None:
        return kept
    return crypto.seal(_visible("client_secret", secret, LONGEST_SECRET).encode())


def _visible(field: str, text: str, most: int) -> str:
    """What may be in client ids and secrets (RFC 6749, appendix A)."""
    text = text.strip()
    if not 0 < len(text) <= most or not (text.isascii() and text.isprintable()):
        raise Invalid(field, f"Copy it from the identity provider: 1 to {most} characters of ASCII.")
    return text
