"""Where a period stands: what was used of what is included, and what more has cost, to the cent."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.models import Source, Status, Subscription
from billing.plans import Allowance, current
from billing.selectors.so_far import AllowanceSoFar, SoFar, so_far
from billing.services.entitlements import recompute
from tenancy.audit.services import SYSTEM
from tenancy.roles import Role
from tenancy.scope import scope
from tests.factories import Tenant, add_member


def use(tenant: Tenant, meter: Meter, quantity: int, hour: datetime | None = None) -> None:
    hour = hour or timezone.now().replace(minute=0, second=0, microsecond=0)
    with scope(tenant.organization):
        UsageHour.objects.create(project_id=tenant.project.pk, meter=meter, hour=hour, quantity=quantity, events=1)


def look(tenant: Tenant) -> SoFar:
    with scope(tenant.organization):
        return so_far()


def of(tenant: Tenant, allowance: Allowance) -> AllowanceSoFar:
    return next(one for one in look(tenant).allowances if one.allowance is allowance)


def pay(tenant: Tenant) -> None:
    now = timezone.now()
    with scope(tenant.organization):
        Subscription.objects.create(
            plan_key="pro",
            plan_version=1,
            status=Status.ACTIVE,
            source=Source.MANUAL,
            period_start=now.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
            period_end=datetime(now.year + 1, 1, 1, tzinfo=UTC),
        )
        recompute(actor=SYSTEM)


def test_the_free_plan_counts_this_month_and_costs_nothing(tenant: Tenant) -> None:
    use(tenant, Meter.RECALL, 30_000)
    use(tenant, Meter.READ, 1_000_000)
    use(tenant, Meter.RECALL, 5, datetime(2001, 1, 1, tzinfo=UTC))
    found = of(tenant, Allowance.OPERATIONS)
    assert (found.used, found.included.quantity, found.share) == (30_000, 25_000, 1.2)
    standing = look(tenant)
    assert standing.overage.amount == 0
    assert standing.starts_at.day == 1
    assert standing.starts_at <= standing.as_of < standing.ends_at


@pytest.mark.parametrize(
    ("used", "cents"), [(0, 0), (250_000, 0), (250_001, 0), (250_042, 1), (350_000, 1_200), (10**12, 11_999_997_000)]
)
def test_what_more_costs_is_rounded_as_the_invoice_line_will_be(tenant: Tenant, used: int, cents: int) -> None:
    pay(tenant)
    use(tenant, Meter.INGEST, used)
    assert of(tenant, Allowance.OPERATIONS).cost.amount == cents
    assert look(tenant).overage.amount == cents


def test_a_gauge_without_a_sample_is_not_known_and_with_some_their_average(tenant: Tenant) -> None:
    assert of(tenant, Allowance.STORED_BYTES).used is None
    start = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    use(tenant, Meter.STORED_BYTES, 300, start)
    use(tenant, Meter.STORED_BYTES, 100, start + timedelta(hours=1))
    found = of(tenant, Allowance.STORED_BYTES)
    assert found.is_sampled
    assert found.used == 200


def test_seats_are_the_members_of_now(tenant: Tenant) -> None:
    add_member(tenant, Role.VIEWER)
    assert of(tenant, Allowance.SEATS).used == 2
    assert of(tenant, Allowance.SEATS).included == current("free").allowances[Allowance.SEATS]


def test_another_organizations_use_is_not_ours(tenant: Tenant, stranger: Tenant) -> None:
    use(stranger, Meter.RECALL, 7)
    assert of(tenant, Allowance.OPERATIONS).used == 0
