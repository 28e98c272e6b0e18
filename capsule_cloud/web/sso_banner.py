"""Warns on every page of the console that a certificate ends by which people sign in."""

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from tenancy.sso.models import IdentityProvider

SOON, SOONER, NOW = 30, 14, 7  # days; a day before it is said again by its number


@dataclass(frozen=True, slots=True)
class CertificateBanner:
    """The provider in use whose certificate ends first, if that is soon."""

    provider: IdentityProvider
    days: int  # below 0: it has ended

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
    """What to say in the organization in scope; one query."""
    now = timezone.now()
    first = (
        IdentityProvider.objects.filter(
            state=IdentityProvider.State.ACTIVE, certificate_expires_at__lt=now + timedelta(days=SOON)
        )
        .only("name", "certificate_expires_at", "organization_id")
        .order_by("certificate_expires_at")
        .first()
    )
    if first is None or first.certificate_expires_at is None:
        return None
    return CertificateBanner(first, (first.certificate_expires_at - now).days)


def days_left(provider: IdentityProvider) -> int | None:
    """Until its certificate ends; None for a provider that has none."""
    ends = provider.certificate_expires_at
    return (ends - timezone.now()).days if ends is not None else None
