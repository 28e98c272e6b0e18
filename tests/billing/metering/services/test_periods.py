"""A closed period stays what it was: what comes late is told with the next one, and the raw events prove it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import sql
from psycopg.errors import CheckViolation, ForeignKeyViolation, InsufficientPrivilege, UniqueViolation

from billing.invoicing.services import CloseFailed, close_due
from billing.metering.meters import Meter
from billing.metering.models import UsageAdjustment, UsageEvent, UsagePeriod
from billing.metering.services import Use, periods
from billing.metering.services.corrections import correct
from billing.metering.services.periods import Recounted, recounted
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Invalid
from tenancy.models import Organization
from tenancy.scope import scope
from tests.factories import Tenant, make_tenant
from tests.raw import connect, inside
from tests.sums import catch_up
from tests.threads import at_once

Counting = Callable[..., Use]
JUNE, JULY, AUGUST, SEPTEMBER = (datetime(2026, month, 1, tzinfo=UTC) for month in (6, 7, 8, 9))
GRACE = timedelta(hours=24)
INSERT = """
    INSERT INTO metering_usageperiod (id, organization_id, starts_at, ends_at, follows, watermark, checksum)
    VALUES (gen_random_uuid(), %s, %s, %s, %s, '', '')
"""


def used(tenant: Tenant, at: datetime, quantity: int, meter: Meter = Meter.RECALL) -> UsageEvent:
    """An event of that time, committed now."""
    with scope(tenant.organization):
        return UsageEvent.objects.create(
            project_id=tenant.project.pk, meter=meter, quantity=quantity, end_user="", occurred_at=at
        )


def born(tenant: Tenant, at: datetime, **period: Any) -> Tenant:
    """Let the organization be that old."""
    with scope(tenant.organization):
        Organization.objects.update(created_at=at, **period)
    return tenant


def close(tenant: Tenant, until: datetime) -> UsagePeriod:
    """Close what is over by then, for one organization; the last period."""
    close_due(now=until + GRACE, only=tenant.organization.pk)
    with scope(tenant.organization):
        return UsagePeriod.objects.get(ends_at=until)


def recount(period: UsagePeriod) -> Recounted:
    """The period beside its raw events."""
    [found] = recounted([period.pk])
    return found


def adjustments(tenant: Tenant, told_in: UsagePeriod) -> list[tuple[datetime, str, int, int]]:
    """What a period tells of earlier ones."""
    with scope(tenant.organization):
        found = UsageAdjustment.objects.filter(told_in=told_in).select_related("period").order_by("period", "meter")
        return [(one.period.starts_at, one.meter, one.quantity, one.events) for one in found]


def ended(tenant: Tenant) -> list[tuple[datetime, datetime, bool]]:
    """The periods, and whether each is closed."""
    with scope(tenant.organization):
        return [(one.starts_at, one.ends_at, bool(one.closed_at)) for one in UsagePeriod.objects.order_by("starts_at")]


def test_what_is_in_the_sums_and_what_is_not_yet_is_frozen(committed: Tenant) -> None:
    born(committed, JUNE)
    used(committed, JUNE, 2)
    catch_up()
    used(committed, JULY - timedelta(seconds=1), 3)
    used(committed, JUNE + timedelta(days=3), 7, Meter.SEAL)
    used(committed, JULY, 100)
    used(committed, JUNE - timedelta(seconds=1), 100)
    period = close(committed, JULY)
    assert period.totals == {"recall": {"quantity": 5, "events": 2}, "seal": {"quantity": 7, "events": 1}}
    assert len(period.checksum) == 64
    assert recount(period).is_right
    with scope(committed.organization):
        [event] = AuditEvent.objects.filter(action=actions.USAGE_PERIOD_CLOSED.name)
    assert event.metadata == {"totals": period.totals, "checksum": period.checksum, "adjustments": 0}
    actions.USAGE_PERIOD_CLOSED.check_values(event.metadata)  # PostgreSQL wrote it
    assert (event.target["id"], event.target["label"]) == (str(period.pk), str(period))
    catch_up()
    assert recount(period).is_right, "the roll-up changes nothing"


def test_of_what_is_sampled_a_period_says_the_average_or_the_highest(committed: Tenant) -> None:
    born(committed, JUNE)
    for day, (stored, seats) in enumerate([(10, 3), (31, 5), (20, 4)]):
        used(committed, JUNE + timedelta(days=day), stored, Meter.STORED_BYTES)
        used(committed, JUNE + timedelta(days=day), seats, Meter.SEAT)
    first = close(committed, JULY)
    assert first.totals == {"stored_bytes": {"quantity": 20, "events": 3}, "seat": {"quantity": 5, "events": 3}}
    assert recount(first).is_right
    used(committed, JUNE + timedelta(days=9), 1, Meter.STORED_BYTES)
    assert adjustments(committed, close(committed, AUGUST)) == [(JUNE, "stored_bytes", 15 - 20, 1)]


def test_late_events_and_corrections_are_told_once_with_the_next_period(committed: Tenant) -> None:
    born(committed, JUNE)
    wrong = used(committed, JUNE, 50)
    first = close(committed, JULY)
    used(committed, JUNE + timedelta(days=1), 4)
    used(committed, JULY + timedelta(days=1), 9, Meter.SEAL)
    with scope(committed.organization):
        correct(actor=committed.actor, event_id=wrong.pk, quantity=20, reason="Counted a test run")
    second = close(committed, AUGUST)
    assert adjustments(committed, second) == [(JUNE, "recall", -26, 2)]
    with scope(committed.organization):
        assert UsagePeriod.objects.get(pk=first.pk).totals == {"recall": {"quantity": 50, "events": 1}}
    assert recount(first).is_right
    used(committed, JUNE + timedelta(days=2), 1)
    third = close(committed, SEPTEMBER)
    assert adjustments(committed, third) == [(JUNE, "recall", 1, 1)]


def test_months_that_are_closed_together_tell_late_use_once(committed: Tenant) -> None:
    born(committed, JUNE)
    close(committed, JULY)
    used(committed, JUNE, 3)
    third = close(committed, SEPTEMBER)
    with scope(committed.organization):
        second = UsagePeriod.objects.get(ends_at=AUGUST)
    assert (adjustments(committed, second), adjustments(committed, third)) == ([(JUNE, "recall", 3, 1)], [])


def test_a_period_is_closed_once_by_several_at_once(committed: Tenant) -> None:
    born(committed, JUNE)
    used(committed, JUNE, 2)
    at_once(*[lambda: close_due(now=JULY + GRACE, only=committed.organization.pk)] * 4)
    close(committed, JULY)
    with scope(committed.organization):
        assert UsagePeriod.objects.get().totals == {"recall": {"quantity": 2, "events": 1}}
        assert AuditEvent.objects.filter(action=actions.USAGE_PERIOD_CLOSED.name).count() == 1


def test_postgresql_lets_nothing_into_the_sequence_that_leaves_a_gap_or_overlaps(committed: Tenant) -> None:
    close(born(committed, JUNE), JULY)
    week = timedelta(days=7)
    with connect("superuser") as server:
        for start, end, follows, refusal in (
            (JULY + week, AUGUST, JULY + week, ForeignKeyViolation),  # a gap
            (JULY - week, AUGUST, JULY - week, ForeignKeyViolation),  # an overlap
            (JULY - week, AUGUST, JULY, CheckViolation),
            (JULY, AUGUST, None, UniqueViolation),  # a second first one
            (JULY, JULY, JULY, CheckViolation),
        ):
            with pytest.raises(refusal):
                server.execute(INSERT, [committed.organization.pk, start, end, follows])
        server.execute(INSERT, [committed.organization.pk, JULY, JULY + week, JULY])
        with pytest.raises(UniqueViolation):
            server.execute(INSERT, [committed.organization.pk, JULY, AUGUST, JULY])


def test_nobody_writes_periods_but_the_functions_that_end_and_close_them(committed: Tenant) -> None:
    close(born(committed, JUNE), JULY)
    with connect("app") as app:
        for statement in (
            "UPDATE metering_usageperiod SET totals = '{}'",
            "DELETE FROM metering_usageperiod",
            "UPDATE metering_usageadjustment SET quantity = 0",
        ):
            with pytest.raises(InsufficientPrivilege), inside(app, committed.organization.pk):
                app.execute(statement)
        with pytest.raises(InsufficientPrivilege), inside(app, committed.organization.pk):
            app.execute(INSERT, [committed.organization.pk, JULY, AUGUST, JULY])


def test_usage_of_others_is_no_part_of_it(committed: Tenant) -> None:
    used(make_tenant(), JUNE, 1000)
    assert close(born(committed, JUNE), JULY).totals == {}
    used(committed, JUNE, 1)
    other = born(make_tenant(), JUNE)
    close(other, JULY)
    assert adjustments(other, close(other, AUGUST)) == []


def test_every_month_is_over_at_its_end_and_closed_a_day_later(committed: Tenant) -> None:
    born(committed, JUNE + timedelta(days=9))
    close_due(now=JULY - timedelta(seconds=1))
    assert ended(committed) == []
    close_due(now=JULY + timedelta(hours=23))
    assert ended(committed) == [(JUNE, JULY, False)]
    close_due(now=AUGUST + timedelta(hours=25))
    assert ended(committed) == [(JUNE, JULY, True), (JULY, AUGUST, True)]


def test_one_that_cannot_be_closed_does_not_keep_the_others(
    committed: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    other = make_tenant()
    for one in (committed, other):
        born(one, JUNE)
    close_due(now=JULY)
    with connect("superuser") as server:
        server.execute(
            sql.SQL(
                "ALTER TABLE metering_usageperiod ADD CONSTRAINT test_poison"
                " CHECK (organization_id <> {} OR closed_at IS NULL) NOT VALID"
            ).format(committed.organization.pk)
        )
        try:
            with pytest.raises(CloseFailed, match=str(committed.organization.pk)):
                close_due(now=JULY + timedelta(days=2))
        finally:
            server.execute("ALTER TABLE metering_usageperiod DROP CONSTRAINT test_poison")
    assert "metering.close_failed" in caplog.text
    assert (ended(committed), ended(other)) == ([(JUNE, JULY, False)], [(JUNE, JULY, True)])
    close_due(now=JULY + timedelta(days=2))
    assert ended(committed) == [(JUNE, JULY, True)]


def test_a_page_is_closed_in_one_statement(committed: Tenant, django_assert_num_queries: Any) -> None:
    for one in (committed, *(make_tenant() for _ in range(4))):
        used(born(one, JUNE), JUNE, 3)
    close_due(now=JULY)
    with django_assert_num_queries(6):  # a page and an empty one, each in a transaction
        assert periods.close_over(now=JULY + GRACE) == []


def test_what_things_are_called() -> None:
    assert str(UsagePeriod(starts_at=JUNE, ends_at=JULY)) == "2026-06-01 to 2026-07-01"
    assert str(UsageAdjustment(meter="recall", quantity=-3)) == "recall -3"


def test_what_no_closing_looks_at_any_more_is_not_corrected(committed: Tenant) -> None:
    born(committed, JUNE)
    old = used(committed, JUNE, 50)
    close(committed, SEPTEMBER)
    with scope(committed.organization):
        assert correct(actor=committed.actor, event_id=old.pk, quantity=49, reason="A test run")
    close(committed, SEPTEMBER + timedelta(days=30))
    with scope(committed.organization), pytest.raises(Invalid, match="give credits"):
        correct(actor=committed.actor, event_id=old.pk, quantity=48, reason="Another")
