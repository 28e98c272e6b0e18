"""Warns on every page of the console that a certificate or metadata ends by which people sign in."""

from dataclasses import dataclass

from django.utils import timezone

from tenancy.sso.models import IdentityProvider
from tenancy.sso.saml import expiry
from tenancy.sso.saml.expiry import What

SOON, NOW = expiry.DAYS[0], 7  # days before the end from which it is said, and from which it is urgent


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
    """What to say in the organization in scope; of a certificate beside which another goes on, nothing."""
    first = next((one for one in expiry.endings() if one.what != What.ONE_OF_SEVERAL), None)
    if first is None:
        return None
    return CertificateBanner(first.provider, (first.ends_at - timezone.now()).days, first.what == What.METADATA)


def days_left(provider: IdentityProvider) -> int | None:
    """Until its certificate ends; None for a provider that has none."""
    ends = provider.certificate_expires_at
    return (ends - timezone.now()).days if ends is not None else None
