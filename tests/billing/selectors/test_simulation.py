"""A new price can be tried on last month's real use before anybody pays it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.models import Status, Subscription
from billing.plans import FREE, Allowance, Included, Plan, current
from billing.selectors.simulation import Simulated, last_month, simulate
from tenancy.scope import scope
from tenancy.services import organizations
from tests.factories import Tenant

PERIOD = (datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))


def use(tenant: Tenant, meter: Meter, quantity: int, at: datetime = PERIOD[0]) -> None:
    """What was used in an hour."""
    with scope(tenant.organization):
        UsageHour.objects.create(project_id=tenant.project.pk, meter=meter, hour=at, quantity=quantity, events=1)


def subscribe(tenant: Tenant, key: str) -> None:
    """A subscription that ran all the time."""
    with scope(tenant.organization):
        Subscription.objects.create(
            plan_key=key,
            plan_version=1,
            status=Status.ACTIVE,
            period_start=PERIOD[0],
            period_end=timezone.now() + timedelta(days=9),
        )


def result(tenant: Tenant, plan: Plan) -> Simulated:
    """The tenant's line of a simulation."""
    [found] = [one for one in simulate(plan, PERIOD) if one.slug == tenant.organization.slug]
    return found


def test_a_plan_that_costs_more_says_how_much_for_each(tenant: Tenant, stranger: Tenant) -> None:
    subscribe(tenant, "pro")
    use(tenant, Meter.RECALL, 300_000)
    use(tenant, Meter.INGEST, 50_000, PERIOD[1] - timedelta(hours=1))
    use(tenant, Meter.INGEST, 1_000_000, PERIOD[1])  # the next month's
    dearer = replace(
        current("pro"),
        version=2,
        monthly=39_00,
        allowances={**current("pro").allowances, Allowance.OPERATIONS: Included(200_000, Decimal("0.01"))},
    )
    found = result(tenant, dearer)
    assert (found.plan, str(found.now), str(found.then)) == ("pro v1", "$41.00", "$54.00")
    assert str(result(stranger, dearer).now) == "$0.00"


def test_the_caps_that_a_smaller_plan_has_are_named(tenant: Tenant) -> None:
    subscribe(tenant, "scale")
    use(tenant, Meter.SEAL, 25_001)
    found = result(tenant, current(FREE))
    assert (str(found.now), str(found.then), found.above) == ("$249.00", "$0.00", (Allowance.OPERATIONS,))


def test_a_closed_organization_is_left_out(tenant: Tenant) -> None:
    with scope(tenant.organization):
        organizations.close(actor=tenant.actor)
    assert tenant.organization.slug not in {one.slug for one in simulate(current("pro"), PERIOD)}


def test_last_month_is_the_calendar_s_across_a_new_year() -> None:
    assert last_month(datetime(2027, 1, 15, tzinfo=UTC)) == (
        datetime(2026, 12, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    )
