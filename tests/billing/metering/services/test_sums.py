"""The hourly sums are exactly the events, whenever they are made and whoever writes meanwhile."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from billing.metering import services, tasks
from billing.metering.meters import Meter
from billing.metering.models import RollUpPosition, SpoolPosition, SpoolReject, UsageEvent, UsageHour
from billing.metering.services import Use
from tenancy.scope import scope
from tests.factories import Tenant, make_tenant
from tests.raw import connect, insert, inside
from tests.sums import catch_up
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


@given(first=ROWS, second=ROWS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_sums_are_the_events_however_they_are_cut(
    first: list[Any], second: list[Any], transactional_db: None
) -> None:
    tenant = make_tenant()
    expected = plant(tenant, first)
    services.roll_up()
    catch_up()
    expected += plant(tenant, second)
    expected = Counter(dict.fromkeys(expected, 0)) + expected
    catch_up()
    found = sums(tenant)
    assert {key: quantity for key, (quantity, _) in found.items() if quantity} == dict(expected)
    assert sum(count for _, count in found.values()) == len(first) + len(second)


def test_several_roll_ups_and_writers_at_once_sum_exactly(committed: Tenant) -> None:
    def write() -> None:
        for number in range(20):
            plant(committed, [(HOUR + timedelta(minutes=number), Meter.RECALL, number, bool(number % 2))] * 5)

    def roll() -> None:
        for _ in range(15):
            services.roll_up(transactions=3)

    results = at_once(write, roll, write, roll, roll)
    assert results == [None] * 5
    catch_up()
    assert events(committed) == 200
    assert sum(quantity for quantity, _ in sums(committed).values()) == 2 * 5 * sum(range(20))
    assert sum(count for _, count in sums(committed).values()) == 200


def test_a_write_that_commits_after_later_ones_is_added_too(committed: Tenant) -> None:
    with connect("app") as slow, inside(slow, committed.organization.pk):
        insert(slow, "metering_usageevent", row(committed, quantity=5))  # its transaction is the oldest
        plant(committed, [(HOUR, Meter.RECALL, 2, True)])
        services.roll_up()
        assert sums(committed) == {}, "what came after an open transaction waits for it"
    catch_up()
    assert [quantity for quantity, _ in sums(committed).values()] == [7]


def row(tenant: Tenant, quantity: int) -> dict[str, Any]:
    """An event's columns, for raw SQL."""
    return {
        "id": uuid7(),
        "organization_id": tenant.organization.pk,
        "project_id": tenant.project.pk,
        "key_id": tenant.key.pk,
        "meter": "recall",
        "quantity": quantity,
        "end_user": "",
        "occurred_at": HOUR,
    }


def test_sums_of_another_server_are_noticed(committed: Tenant) -> None:
    with connect("superuser") as server:
        [(position,)] = server.execute("SELECT position FROM metering_rollupposition")
        server.execute("UPDATE metering_rollupposition SET position = 2 ^ 60")
        try:
            with pytest.raises(DatabaseError, match="restored from a dump"):
                services.roll_up()
        finally:
            server.execute("UPDATE metering_rollupposition SET position = %s", [position])


def test_an_idle_server_stays_where_it_is(committed: Tenant) -> None:
    catch_up()
    with connect("superuser") as server:
        question = "SELECT position, xmin::text FROM metering_rollupposition"
        before = server.execute(question).fetchall()
        services.roll_up()
        assert server.execute(question).fetchall() == before


def test_the_task_ships_and_rolls_up(tenant: Tenant, use: Counting, folder: Any) -> None:
    services.spool(use(quantity=4))
    tasks.ship_usage(anything=str(uuid4()))
    assert [quantity for quantity, _ in sums(tenant).values()] == [4]


def test_what_things_are_called(tenant: Tenant) -> None:
    assert str(UsageEvent(meter="seal", quantity=3)) == "seal 3"
    assert str(UsageHour(meter="seal", hour=HOUR, quantity=3)) == "seal 2026-03-29 12 3"
    assert str(RollUpPosition(position=5)) == "5"
    assert str(SpoolPosition(segment="a.usage", offset=7)) == "a.usage 7"
    assert str(SpoolReject(segment="a.usage", offset=7)) == "a.usage 7"


def test_a_roll_up_keeps_tenants_apart(transactional_db: None) -> None:
    one, other = make_tenant(), make_tenant()
    plant(one, [(HOUR, Meter.RECALL, 2, True)])
    plant(other, [(HOUR, Meter.RECALL, 5, True)])
    catch_up()
    assert sums(one) == {(HOUR, "recall", one.key.pk): (2, 1)}
    assert sums(other) == {(HOUR, "recall", other.key.pk): (5, 1)}
