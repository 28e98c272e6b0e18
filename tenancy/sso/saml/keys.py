"""Replaces our key for an identity provider without a moment in which nobody comes in.

A next key is made; both are in our metadata, and what is encrypted for either is opened. Once the identity provider
knows both, the next one takes the other's place and signs; the old one can take it back, or is dropped.
"""

from collections.abc import Callable
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.services import Actor, record
from tenancy.errors import Conflict
from tenancy.services import organizations
from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers import services
from tenancy.sso.saml import configuration

Spare = IdentityProvider.Spare
SAML = IdentityProvider.Protocol.SAML


def prepare(*, actor: Actor, provider_id: UUID) -> IdentityProvider:
    """Make the next key. Raises NotFound, or Conflict where there are two already."""

    def make(provider: IdentityProvider) -> None:
        if provider.spare:
            raise Conflict("There are two keys already: drop the one that is not in use first.")
        name = f"{organizations.locked().slug} {provider.name}"
        provider.spare_key, provider.spare_certificate = configuration.new_key(name)
        provider.spare = Spare.NEXT

    return _change(actor, provider_id, actions.PROVIDER_KEY_PREPARED, make)


def switch(*, actor: Actor, provider_id: UUID) -> IdentityProvider:
    """Have the other key sign: the next one, or the old one again. Raises NotFound, or Conflict without another.

    It must be tested anew, as an identity provider that does not know the key lets nobody in.
    """

    def swap(provider: IdentityProvider) -> None:
        _need(provider)
        provider.key, provider.spare_key = provider.spare_key, provider.key
        provider.certificate, provider.spare_certificate = provider.spare_certificate, provider.certificate
        provider.spare = Spare.OLD
        provider.tested_at = None

    return _change(actor, provider_id, actions.PROVIDER_KEY_SWITCHED, swap)


def drop(*, actor: Actor, provider_id: UUID) -> IdentityProvider:
    """Forget the key that is not in use. Raises NotFound, or Conflict without one."""

    def forget(provider: IdentityProvider) -> None:
        _need(provider)
        provider.spare, provider.spare_key, provider.spare_certificate = "", None, ""

    return _change(actor, provider_id, actions.PROVIDER_KEY_DROPPED, forget)


def fingerprint(certificate: str) -> str:
    """The SHA-256 of a certificate, PEM, as identity providers show it; '' without one."""
    if not certificate:
        return ""
    return x509.load_pem_x509_certificate(certificate.encode()).fingerprint(hashes.SHA256()).hex(":").upper()


def _need(provider: IdentityProvider) -> None:
    if not provider.spare:
        raise Conflict("There is one key alone: make the next one first.")


def _change(
    actor: Actor, provider_id: UUID, action: actions.Action, make: Callable[[IdentityProvider], None]
) -> IdentityProvider:
    provider = services.locked(provider_id, SAML)
    before = _told(provider)
    make(provider)
    provider.spare_since = timezone.now() if provider.spare else None
    provider.version += 1
    provider.save()
    changes = action.changed(before, _told(provider))
    record(action=action, actor=actor, target=services.target(provider), changes=changes)
    return provider


def _told(provider: IdentityProvider) -> dict[str, str | None]:
    """Which keys there are, as the trail names them."""
    return {
        "certificate_sha256": fingerprint(provider.certificate),
        "spare_certificate_sha256": fingerprint(provider.spare_certificate) or None,
    }
