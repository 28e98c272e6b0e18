"""A forecast follows the usual day, says how sure it is, and names the day of a cap."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.plans import Allowance
from billing.quotas.forecasts import Forecast, forecast
from billing.quotas.models import Level
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit
from tests.factories import Tenant


@pytest.fixture
def now(tenant: Tenant) -> datetime:
    """Noon, ten days before the end of a billing period of thirty."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    limit(tenant, None, period_start=today - timedelta(days=20), period_end=today + timedelta(days=10))
    return today + timedelta(hours=12)


def use_of_days(tenant: Tenant, now: datetime, days: list[int], today: int = 0) -> None:
    """Store what each of the last days came to, oldest first, at its sixth hour; a read that counts for nothing too."""
    start = now.replace(hour=6)
    quantities = [(len(days) - n, quantity) for n, quantity in enumerate(days)] + [(0, today)]
    with scope(tenant.organization):
        UsageHour.objects.bulk_create(
            UsageHour(
                project_id=tenant.project.pk,
                key_id=tenant.key.pk,
                meter=meter,
                hour=start - timedelta(days=ago),
                quantity=quantity,
                events=quantity,
            )
            for ago, quantity in quantities
            for meter in (Meter.RECALL, Meter.READ)
        )


def foretold(tenant: Tenant, now: datetime, cap: int | None = None) -> Forecast:
    """The forecast of the organization's operations."""
    with scope(tenant.organization):
        return forecast(Allowance.OPERATIONS, limit=cap, now=now)


def test_steady_days_go_on(tenant: Tenant, now: datetime) -> None:
    use_of_days(tenant, now, [1000] * 28, today=500)
    found = foretold(tenant, now, cap=26_000)
    assert (found.used, found.expected) == (20_500, 30_000)
    assert 29_500 < found.low < found.expected < found.high < 30_500
    assert found.reaches_at is not None
    assert found.reaches_at.date() == (now + timedelta(days=5.5)).date()
    assert found.earliest_at is not None
    assert found.latest_at is not None
    assert found.earliest_at <= found.reaches_at <= found.latest_at


def test_days_that_differ_make_a_wider_band(tenant: Tenant, stranger: Tenant, now: datetime) -> None:
    use_of_days(tenant, now, [500, 1500] * 14)
    found = foretold(tenant, now)
    assert found.expected == 20_000 + 9_500
    assert found.high - found.low > 3_000
    assert found.reaches_at is None


def test_a_cap_that_is_far_is_not_reached(tenant: Tenant, now: datetime) -> None:
    use_of_days(tenant, now, [1000] * 28)
    found = foretold(tenant, now, cap=40_000)
    assert (found.reaches_at, found.earliest_at, found.latest_at) == (None, None, None)
    reached = foretold(tenant, now, cap=10_000)
    assert reached.reaches_at == now, "already"


def test_the_first_day_gives_a_wide_guess(tenant: Tenant, now: datetime) -> None:
    limit(tenant, None, period_start=now - timedelta(hours=12), period_end=now + timedelta(days=29.5))
    use_of_days(tenant, now, [], today=100)
    found = foretold(tenant, now)
    assert (found.used, found.expected) == (100, 100 + 200 * 59 // 2)
    assert found.low == 100
    assert found.high > 10_000


def test_without_use_nothing_is_foretold(tenant: Tenant, now: datetime) -> None:
    found = foretold(tenant, now, cap=10)
    assert (found.used, found.expected, found.low, found.high, found.reaches_at) == (0, 0, 0, 0, None)


def test_a_key_has_a_forecast_of_its_own(tenant: Tenant, stranger: Tenant, now: datetime) -> None:
    use_of_days(tenant, now, [100] * 28)
    with scope(tenant.organization):
        own = forecast(Allowance.OPERATIONS, level=Level.KEY, subject_id=tenant.key.pk, now=now)
        other = forecast(Allowance.OPERATIONS, level=Level.KEY, subject_id=stranger.key.pk, now=now)
    assert (own.used, other.used) == (2_000, 0)


def test_past_months_are_foretold_within_the_band(tenant: Tenant, now: datetime) -> None:
    days = [1000 + 400 * ((n * 5) % 7 in {0, 1}) + (n * 37) % 101 for n in range(28)]
    use_of_days(tenant, now, days)
    found = foretold(tenant, now)
    comes = sum(1000 + 400 * ((n * 5) % 7 in {0, 1}) + (n * 37) % 101 for n in range(28, 38))
    truth = sum(days[8:]) + comes * 19 / 20
    assert found.low < truth < found.high
    assert abs(found.expected - truth) < truth * 0.03
