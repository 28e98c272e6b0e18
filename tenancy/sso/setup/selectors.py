"""Reads how far the setup of single sign-on is, for the organization in scope."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, Q

from tenancy.errors import NotFound
from tenancy.models import Organization
from tenancy.sso.models import IdentityProvider, VerifiedDomain
from tenancy.sso.setup.models import Protocol, ProviderSetup, SetupLink, Vendor

MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """What is done of the five steps."""

    has_domain: bool  # one that is held
    domain_waits: bool  # one that is not proved yet
    has_provider: bool
    is_tested: bool
    is_on: bool
    is_required: bool

    @property
    def done(self) -> int:
        """How many of the steps are done."""
        return sum((self.has_domain, self.has_provider, self.is_tested, self.is_on, self.is_required))


def progress() -> Progress:
    """How far the organization is."""
    held = Q(state__in=[VerifiedDomain.State.VERIFIED, VerifiedDomain.State.LOST])
    domains = VerifiedDomain.objects.aggregate(held=Count("pk", filter=held), waiting=Count("pk", filter=~held))
    rows = IdentityProvider.objects.values_list("state", "tested_at")
    return Progress(
        has_domain=domains["held"] > 0,
        domain_waits=domains["waiting"] > 0,
        has_provider=bool(rows),
        is_tested=any(tested_at for _, tested_at in rows),
        is_on=any(state == IdentityProvider.State.ACTIVE for state, _ in rows),
        is_required=Organization.objects.filter(is_sso_required=True).exists(),
    )


def links() -> list[SetupLink]:
    """The last setup links, the newest first."""
    return list(SetupLink.objects.select_related("made_by").order_by("-id")[:MOST_SHOWN])


def setup_of(provider_id: UUID) -> ProviderSetup:
    """How a provider is set up; one that was added without a guide is anybody's. Raises NotFound."""
    found = ProviderSetup.objects.filter(pk=provider_id).first()
    if found is not None:
        return found
    if not IdentityProvider.objects.filter(pk=provider_id).exists():
        raise NotFound("There is no such identity provider.")
    return ProviderSetup(pk=provider_id, vendor=Vendor.OTHER, protocol=Protocol.SAML)


def begun() -> ProviderSetup | None:
    """The setup that was begun last; it has a provider or not yet."""
    return ProviderSetup.objects.order_by("-id").first()
