"""Reads the identity providers of the organization in scope, and finds whose one is."""

from uuid import UUID

from tenancy.errors import NotFound
from tenancy.scope import unscoped
from tenancy.sso.models import IdentityProvider, SignIn

Protocol = IdentityProvider.Protocol


def providers() -> list[IdentityProvider]:
    """Every one, the oldest first."""
    return list(IdentityProvider.objects.order_by("id"))


def provider(provider_id: UUID) -> IdentityProvider:
    """One of them. Raises NotFound."""
    found = IdentityProvider.objects.filter(pk=provider_id).first()
    if found is None:
        raise NotFound("There is no such identity provider.")
    return found


def sign_ins(provider_id: UUID, *, limit: int) -> list[SignIn]:
    """The last answers of a provider, the newest first."""
    return list(SignIn.objects.filter(provider=provider_id).select_related("user").order_by("-id")[:limit])


def organization_of(provider_id: UUID, protocol: Protocol = Protocol.SAML) -> UUID:
    """Whose a provider is that speaks this protocol: for whoever comes from it, in no scope yet. Raises NotFound."""
    organization_id, spoken = _whose(provider_id)
    if spoken != protocol:
        raise NotFound("There is no such identity provider.")
    return organization_id


def protocol_of(provider_id: UUID) -> Protocol:
    """What a provider speaks, in no scope. Raises NotFound."""
    return _whose(provider_id)[1]


def _whose(provider_id: UUID) -> tuple[UUID, Protocol]:
    with unscoped(reason="whoever signs in by an identity provider belongs to no organization yet") as wide:
        rows = wide.rows("sso_whose_provider", provider_id)
    if not rows:
        raise NotFound("There is no such identity provider.")
    return rows[0]["organization_id"], Protocol(rows[0]["protocol"])


def is_in_use(provider_id: UUID) -> bool:
    """Whether people sign in by a provider: false once it is switched off or removed, in no scope."""
    with unscoped(reason="a session that an identity provider opened ends with it") as wide:
        rows = wide.rows("sso_provider_in_use", provider_id)
    return bool(rows and rows[0]["is_in_use"])


def provider_for(domain: str) -> UUID | None:
    """By which provider people of a domain sign in, if by any; the domain as DNS has it."""
    with unscoped(reason="the sign-in page asks an address for its organization's identity provider") as wide:
        rows = wide.rows("sso_provider_for", domain)
    found: UUID | None = rows[0]["provider_id"] if rows else None
    return found
