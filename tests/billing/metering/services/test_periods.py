"""A closed period stays what it was: what comes late is told with the next one, and the raw events prove it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from billing.metering import tasks
from billing.metering.meters import Meter
from billing.metering.models import UsageAdjustment, UsageEvent, UsagePeriod
from billing.metering.services import Use, periods
from billing.metering.services.corrections import correct
from billing.metering.services.periods import PeriodOpen, PeriodsOverlap, close_period, is_what_was_counted, late
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.models import Organization
from tenancy.scope import scope
from tests.factories import Tenant, make_tenant
from tests.raw import connect, inside
from tests.sums import catch_up
from tests.threads import at_once

Counting = Callable[..., Use]
JUNE, JULY, AUGUST = (datetime(2026, month, 1, tzinfo=UTC) for month in (6, 7, 8))


def used(tenant: Tenant, at: datetime, quantity: int, meter: Meter = Meter.RECALL) -> UsageEvent:
    """An event of that time, committed now."""
    with scope(tenant.organization):
        return UsageEvent.objects.create(
            project_id=tenant.project.pk, meter=meter, quantity=quantity, end_user="", occurred_at=at
        )


def close(tenant: Tenant, since: datetime, until: datetime) -> UsagePeriod:
    """Close it as the owner."""
    with scope(tenant.organization):
        return close_period(actor=tenant.actor, since=since, until=until)


def adjustments(tenant: Tenant, told_in: UsagePeriod) -> list[tuple[datetime, str, int, int]]:
    """What a period tells of earlier ones."""
    with scope(tenant.organization):
        found = UsageAdjustment.objects.filter(told_in=told_in).select_related("period").order_by("period", "meter")
        return [(one.period.starts_at, one.meter, one.quantity, one.events) for one in found]


def test_what_is_in_the_sums_and_what_is_not_yet_is_frozen(committed: Tenant) -> None:
    used(committed, JUNE, 2)
    catch_up()
    used(committed, JULY - timedelta(seconds=1), 3)
    used(committed, JUNE + timedelta(days=3), 7, Meter.SEAL)
    used(committed, JULY, 100)
    used(committed, JUNE - timedelta(seconds=1), 100)
    period = close(committed, JUNE, JULY)
    assert period.totals == {"recall": {"quantity": 5, "events": 2}, "seal": {"quantity": 7, "events": 1}}
    assert len(period.checksum) == 64
    with scope(committed.organization):
        assert is_what_was_counted(period)
        [event] = AuditEvent.objects.filter(action=actions.USAGE_PERIOD_CLOSED.name)
    assert event.metadata["checksum"] == period.checksum
    catch_up()
    with scope(committed.organization):
        assert is_what_was_counted(period), "the roll-up changes nothing"
        assert late(period) == {}


def test_late_events_and_corrections_are_told_once_with_the_next_period(committed: Tenant) -> None:
    wrong = used(committed, JUNE, 50)
    first = close(committed, JUNE, JULY)
    used(committed, JUNE + timedelta(days=1), 4)
    used(committed, JULY + timedelta(days=1), 9, Meter.SEAL)
    with scope(committed.organization):
        correct(actor=committed.actor, event_id=wrong.pk, quantity=20, reason="Counted a test run")
        assert late(first) == {"recall": (4 - 30, 2)}
    second = close(committed, JULY, AUGUST)
    assert adjustments(committed, second) == [(JUNE, "recall", -26, 2)]
    with scope(committed.organization):
        assert UsagePeriod.objects.get(pk=first.pk).totals == {"recall": {"quantity": 50, "events": 1}}
        assert is_what_was_counted(first)
        assert late(first) == late(second) == {}
    used(committed, JUNE + timedelta(days=2), 1)
    third = close(committed, AUGUST, AUGUST + timedelta(days=31))
    assert adjustments(committed, third) == [(JUNE, "recall", 1, 1)]


def test_a_period_is_closed_once_by_several_at_once(committed: Tenant) -> None:
    used(committed, JUNE, 2)
    results = at_once(*[lambda: close(committed, JUNE, JULY)] * 4)
    assert len({period.pk for period in results}) == 1
    with scope(committed.organization):
        assert AuditEvent.objects.filter(action=actions.USAGE_PERIOD_CLOSED.name).count() == 1


def test_periods_are_whole_hours_and_do_not_overlap(tenant: Tenant) -> None:
    minutes = timedelta(minutes=23)
    first = close(tenant, JUNE + minutes, JULY + minutes)
    assert (first.starts_at, first.ends_at) == (JUNE, JULY)
    assert close(tenant, JULY + minutes, AUGUST).starts_at == JULY
    for since, until in (
        (JUNE, JULY - timedelta(days=1)),
        (JUNE - timedelta(days=1), JUNE + timedelta(days=1)),
        (JULY + timedelta(days=1), AUGUST + timedelta(days=1)),
        (AUGUST, AUGUST),
        (AUGUST + timedelta(days=1), AUGUST),
    ):
        with pytest.raises(PeriodsOverlap):
            close(tenant, since, until)


def test_a_period_waits_for_its_grace(tenant: Tenant) -> None:
    until = timezone.now().replace(minute=0, second=0, microsecond=0)
    with pytest.raises(PeriodOpen):
        close(tenant, JUNE, until)
    with scope(tenant.organization):
        close_period(actor=tenant.actor, since=JUNE, until=until, now=until + periods.GRACE)


def test_nobody_changes_a_closed_period(committed: Tenant) -> None:
    close(committed, JUNE, JULY)
    with connect("app") as app:
        for statement in ("UPDATE metering_usageperiod SET totals = '{}'", "DELETE FROM metering_usageperiod"):
            with pytest.raises(InsufficientPrivilege), inside(app, committed.organization.pk):
                app.execute(statement)


def test_usage_of_others_is_no_part_of_it(committed: Tenant) -> None:
    used(make_tenant(), JUNE, 1000)
    assert close(committed, JUNE, JULY).totals == {}


def closed(tenant: Tenant) -> list[tuple[datetime, datetime]]:
    """The closed periods."""
    with scope(tenant.organization):
        return list(UsagePeriod.objects.order_by("starts_at").values_list("starts_at", "ends_at"))


def born(tenant: Tenant, at: datetime, **period: Any) -> None:
    """Let the organization be that old, with a period under way."""
    with scope(tenant.organization):
        Organization.objects.update(created_at=at, **period)


def test_without_a_period_of_its_own_every_month_is_closed_a_day_after_its_end(tenant: Tenant) -> None:
    born(tenant, JUNE + timedelta(days=9))
    periods.close_due(now=JULY + timedelta(hours=23))
    assert closed(tenant) == []
    periods.close_due(now=AUGUST + timedelta(hours=25))
    assert closed(tenant) == [(JUNE, JULY), (JULY, AUGUST)]
    tasks.close_usage_periods(anything="later")
    assert closed(tenant)[:3] == [(JUNE, JULY), (JULY, AUGUST), (AUGUST, AUGUST + timedelta(days=31))]


def test_a_billing_period_is_closed_up_to_the_one_under_way(tenant: Tenant) -> None:
    under_way = JULY + timedelta(days=14, hours=10, minutes=23)
    born(tenant, JUNE + timedelta(days=9), period_start=under_way, period_end=under_way + timedelta(days=31))
    periods.close_due(now=under_way + timedelta(hours=23))
    assert closed(tenant) == []
    periods.close_due(now=under_way + timedelta(hours=24))
    assert closed(tenant) == [(JUNE, JULY + timedelta(days=14, hours=10))]
    periods.close_due(now=under_way + timedelta(days=9))
    assert len(closed(tenant)) == 1


def test_one_that_cannot_be_closed_does_not_keep_the_others(
    committed: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    other = make_tenant()
    for one in (committed, other):
        born(one, JUNE)
    with connect("superuser") as server:
        server.execute(
            sql.SQL(
                "ALTER TABLE metering_usageperiod ADD CONSTRAINT test_poison CHECK (organization_id <> {}) NOT VALID"
            ).format(committed.organization.pk)
        )
        try:
            with pytest.raises(periods.CloseFailed, match=str(committed.organization.pk)):
                periods.close_due(now=JULY + timedelta(days=2))
        finally:
            server.execute("ALTER TABLE metering_usageperiod DROP CONSTRAINT test_poison")
    assert "metering.close_failed" in caplog.text
    assert (closed(committed), closed(other)) == ([], [(JUNE, JULY)])
    periods.close_due(now=JULY + timedelta(days=2))
    assert closed(committed) == [(JUNE, JULY)]


def test_what_things_are_called(tenant: Tenant) -> None:
    assert str(UsagePeriod(starts_at=JUNE, ends_at=JULY)) == "2026-06-01 to 2026-07-01"
    assert str(UsageAdjustment(meter="recall", quantity=-3)) == "recall -3"
