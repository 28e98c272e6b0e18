"""Warns on every page of the console that a certificate or metadata ends by which people sign in."""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from tenancy.sso.models import IdentityProvider

SOON, NOW = 30, 7  # days before the end from which it is said, and from which it is urgent
COLUMNS = ("organization_id", "name", "certificate_expires_at", "metadata_valid_until", "metadata_url")


@dataclass(frozen=True, slots=True)
class CertificateBanner:
    """The provider in use of which something ends first, if that is soon."""

    provider: IdentityProvider
    days: int  # below 0: it has ended
    is_metadata: bool  # it says itself until when it is valid, and comes from no address: sign-in ends with it

    @property
    def is_bad(self) -> bool:
        """Whether it wants doing now."""
        return self.days < NOW

    @property
    def when(self) -> str:
        """In words."""
        if self.days < 0:
            return "has ended"
        return {0: "ends today", 1: "ends tomorrow"}.get(self.days, f"ends in {self.days} days")


def certificate_banner() -> CertificateBanner | None:
    """What to say in the organization in scope; one query, without the metadata itself."""
    now = timezone.now()
    soon = now + timedelta(days=SOON)
    rows = IdentityProvider.objects.filter(
        Q(certificate_expires_at__lt=soon) | Q(metadata_url="", metadata_valid_until__lt=soon),
        state=IdentityProvider.State.ACTIVE,
    ).only(*COLUMNS)
    found = []
    for row in rows:
        pasted_until = None if row.metadata_url else row.metadata_valid_until
        ends = [(row.certificate_expires_at, False), (pasted_until, True)]
        found += [CertificateBanner(row, (end - now).days, is_metadata) for end, is_metadata in ends if end]
    return min(found, key=lambda one: one.days, default=None)


def days_left(provider: IdentityProvider) -> int | None:
    """Until its certificate ends; None for a provider that has none."""
    ends = provider.certificate_expires_at
    return (ends - timezone.now()).days if ends is not None else None
