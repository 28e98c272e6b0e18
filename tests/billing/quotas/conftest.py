"""Uses of a tenant's key, a limit for its organization, and leases that no other test has."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from billing.metering.meters import Meter
from billing.metering.models import SpoolMachine
from billing.metering.services import Use
from billing.quotas.leases import leases
from billing.quotas.models import Counter
from tenancy.models import Organization
from tenancy.scope import scope
from tests.factories import Tenant, make_tenant


@pytest.fixture
def committed(transactional_db: None) -> Iterator[Tenant]:
    """An organization that other connections see; its leases end with the test."""
    tenant = make_tenant()
    yield tenant
    leases.forget(tenant.organization.pk)
    leases.give_back(idle=-1.0)


@pytest.fixture
def no_spools(db: None) -> Iterator[None]:
    """No machine spools: what other tests' servers said is nobody's concern here, and the other way round."""
    SpoolMachine.objects.all().delete()
    yield
    SpoolMachine.objects.all().delete()


@pytest.fixture
def use(request: pytest.FixtureRequest) -> Callable[..., Use]:
    """Makes a use of the tenant's key: `use()`, `use(Meter.RECALL, quantity=3)`."""
    name = "committed" if "committed" in request.fixturenames else "tenant"
    tenant: Tenant = request.getfixturevalue(name)

    def make(meter: Meter = Meter.INGEST, **values: Any) -> Use:
        return Use(tenant.organization.pk, tenant.project.pk, tenant.key.pk, meter, **values)

    return make


def limit(tenant: Tenant, operations: int | None, **columns: Any) -> None:
    """Give the tenant's plan so many operations a period."""
    with scope(tenant.organization):
        Organization.objects.update(operation_limit=operations, **columns)


def used(tenant: Tenant, subject_id: UUID | None = None, span: str = "period") -> int:
    """What a counter of operations says."""
    with scope(tenant.organization):
        counter = Counter.objects.get(
            allowance="operations", subject_id=subject_id or tenant.organization.pk, span=span
        )
    return counter.used
