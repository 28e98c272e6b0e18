"""Writes are counted in their own transaction, and the hourly sums are exactly the events."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.metering import services, tasks
from billing.metering.meters import Meter
from billing.metering.models import SpoolPosition, SpoolReject, UsageEvent, UsageHour
from billing.metering.services import Use
from tenancy.scope import NoScope, ScopeError, one_trip, scope
from tests.factories import Tenant
from tests.threads import at_once

Counting = Callable[..., Use]
HOUR = datetime(2026, 3, 29, 12, tzinfo=UTC)


def events(tenant: Tenant) -> int:
    """How many events the tenant has."""
    with scope(tenant.organization):
        return UsageEvent.objects.count()


def sums(tenant: Tenant) -> dict[tuple[Any, ...], tuple[int, int]]:
    """The hourly sums: quantity and number of events by hour, meter and key."""
    with scope(tenant.organization):
        return {(h.hour, h.meter, h.key_id): (h.quantity, h.events) for h in UsageHour.objects.all()}


def test_a_write_is_counted_with_it_or_not_at_all(tenant: Tenant, use: Counting) -> None:
    with scope(tenant.organization):
        kept = services.record(use(Meter.SEAL, quantity=3, end_user="dana"))
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            raise_after(lambda: services.record(use(Meter.SEAL)))
        [event] = UsageEvent.objects.all()
    assert (event.pk, event.meter, event.quantity, event.end_user) == (kept, "seal", 3, "dana")


def raise_after(work: Callable[[], Any]) -> None:
    """What a failing write does."""
    work()
    raise ZeroDivisionError


def test_a_write_is_counted_in_the_same_round_trip(tenant: Tenant, use: Counting) -> None:
    call = services.usage_call(use(Meter.INGEST, quantity=2, end_user="dana"))
    [(event_id,)] = one_trip(tenant.organization.pk, call)
    assert one_trip(tenant.organization.pk, call) == [(event_id,)], "the same event, once"
    with scope(tenant.organization):
        event = UsageEvent.objects.get()
    assert (event.pk, event.meter, event.quantity, event.end_user) == (event_id, "ingest", 2, "dana")
    assert event.key_id == tenant.key.pk


def test_nothing_is_counted_for_somebody_else(tenant: Tenant, stranger: Tenant, use: Counting) -> None:
    with pytest.raises(NoScope):
        services.record(use())
    with scope(stranger.organization), pytest.raises(ScopeError):
        services.record(use())
    assert events(tenant) == events(stranger) == 0


def plant(tenant: Tenant, rows: list[tuple[datetime, Meter, int, bool]]) -> Counter[tuple[Any, ...]]:
    """Store events; returns what the sums must be."""
    expected: Counter[tuple[Any, ...]] = Counter()
    with scope(tenant.organization):
        UsageEvent.objects.bulk_create(
            UsageEvent(
                project_id=tenant.project.pk,
                key_id=tenant.key.pk if has_key else None,
                meter=meter,
                quantity=quantity,
                occurred_at=at,
            )
            for at, meter, quantity, has_key in rows
        )
    for at, meter, quantity, has_key in rows:
        hour = at.replace(minute=0, second=0, microsecond=0)
        expected[hour, meter.value, tenant.key.pk if has_key else None] += quantity
    return expected


ROWS = st.lists(
    st.tuples(
        st.timedeltas(timedelta(0), timedelta(hours=5)).map(lambda delta: HOUR + delta),
        st.sampled_from([Meter.RECALL, Meter.SEAL]),
        st.integers(0, 10**12),
        st.booleans(),
    ),
    max_size=30,
)


@given(first=ROWS, second=ROWS, batch=st.integers(1, 7))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_sums_are_the_events_however_they_are_cut(
    first: list[Any], second: list[Any], batch: int, tenant: Tenant
) -> None:
    with scope(tenant.organization):
        UsageHour.objects.all().delete()
        UsageEvent.objects.all().delete()
    expected = plant(tenant, first)
    services.roll_up(batch=batch)
    services.roll_up(batch=batch)
    expected += plant(tenant, second)
    expected = Counter(dict.fromkeys(expected, 0)) + expected
    services.roll_up(batch=batch)
    found = sums(tenant)
    assert {key: quantity for key, (quantity, _) in found.items() if quantity} == dict(expected)
    assert sum(count for _, count in found.values()) == len(first) + len(second)


def test_several_roll_ups_and_writers_at_once_sum_exactly(committed: Tenant) -> None:
    def write() -> None:
        for number in range(20):
            plant(committed, [(HOUR + timedelta(minutes=number), Meter.RECALL, number, bool(number % 2))] * 5)

    def roll() -> None:
        for _ in range(15):
            services.roll_up(batch=13)

    results = at_once(write, roll, write, roll, roll)
    assert results == [None] * 5
    services.roll_up()
    assert events(committed) == 200
    assert sum(quantity for quantity, _ in sums(committed).values()) == 2 * 5 * sum(range(20))
    assert sum(count for _, count in sums(committed).values()) == 200
    with scope(committed.organization):
        assert not UsageEvent.objects.filter(is_rolled_up=False).exists()


def test_the_task_ships_and_rolls_up(tenant: Tenant, use: Counting, folder: Any) -> None:
    services.spool(use(quantity=4))
    tasks.ship_usage(anything=str(uuid4()))
    assert [quantity for quantity, _ in sums(tenant).values()] == [4]


def test_what_things_are_called(tenant: Tenant) -> None:
    assert str(UsageEvent(meter="seal", quantity=3)) == "seal 3"
    assert str(UsageHour(meter="seal", hour=HOUR, quantity=3)) == "seal 2026-03-29 12 3"
    assert str(SpoolPosition(segment="a.usage", offset=7)) == "a.usage 7"
    assert str(SpoolReject(segment="a.usage", offset=7)) == "a.usage 7"


def test_a_roll_up_keeps_tenants_apart(tenant: Tenant, stranger: Tenant) -> None:
    plant(tenant, [(HOUR, Meter.RECALL, 2, True)])
    plant(stranger, [(HOUR, Meter.RECALL, 5, True)])
    services.roll_up()
    assert sums(tenant) == {(HOUR, "recall", tenant.key.pk): (2, 1)}
    assert sums(stranger) == {(HOUR, "recall", stranger.key.pk): (5, 1)}
