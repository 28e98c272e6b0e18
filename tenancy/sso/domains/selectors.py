"""Reads the domains of the organization in scope, and who holds one."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet

from tenancy.errors import NotFound
from tenancy.scope import unscoped
from tenancy.sso.models import ExternalIdentity, VerifiedDomain


@dataclass(frozen=True, slots=True)
class Holder:
    """The organization that holds a domain, and its row."""

    domain_id: UUID
    organization_id: UUID


def domains() -> list[VerifiedDomain]:
    """Every one, the oldest first."""
    return list(VerifiedDomain.objects.order_by("id"))


def held() -> QuerySet[VerifiedDomain]:
    """Those for whose addresses the organization speaks, as `VerifiedDomain.is_held` says it of one."""
    return VerifiedDomain.objects.exclude(state=VerifiedDomain.State.PENDING)


def people_of(domain: VerifiedDomain) -> int:
    """How many people come by an identity provider with an address in a domain."""
    linked = ExternalIdentity.objects.filter(user__email__iendswith=f"@{domain.domain}")
    return linked.values("user").distinct().count()


def domain(domain_id: UUID) -> VerifiedDomain:
    """One of them. Raises NotFound."""
    found = VerifiedDomain.objects.filter(pk=domain_id).first()
    if found is None:
        raise NotFound("There is no such domain.")
    return found


def holder(name: str) -> Holder | None:
    """Whose a domain is, of all organizations; nobody's while it is pending everywhere."""
    with unscoped(reason="only one organization may hold a domain") as wide:
        rows = wide.rows("sso_domain_holder", name)
    return Holder(**rows[0]) if rows else None
