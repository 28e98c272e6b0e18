"""Reads the domains of the organization in scope."""

from uuid import UUID

from tenancy.errors import NotFound
from tenancy.sso.models import VerifiedDomain


def domains() -> list[VerifiedDomain]:
    """Every one, the oldest first."""
    return list(VerifiedDomain.objects.order_by("id"))


def domain(domain_id: UUID) -> VerifiedDomain:
    """One of them. Raises NotFound."""
    found = VerifiedDomain.objects.filter(pk=domain_id).first()
    if found is None:
        raise NotFound("There is no such domain.")
    return found
