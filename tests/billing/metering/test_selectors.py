"""Usage is the same before, during and after its roll-up."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone as now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.metering import selectors, services
from billing.metering.meters import Meter
from billing.metering.models import UsageEvent
from billing.metering.services import Use
from tenancy.scope import NoScope, scope
from tests.factories import Tenant, make_tenant
from tests.sums import catch_up

SINCE, UNTIL = datetime(2026, 2, 27, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)
OTHER_PROJECT, OTHER_KEY = uuid4(), uuid4()
STARTS: dict[str, Callable[[datetime], datetime]] = {
    "hour": lambda at: at.replace(minute=0, second=0, microsecond=0),
    "day": lambda at: at.replace(hour=0, minute=0, second=0, microsecond=0),
    "month": lambda at: at.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
}
Row = tuple[datetime, UUID | None, UUID | None, Meter, int]
ROWS: st.SearchStrategy[list[Row]] = st.lists(
    st.tuples(
        st.datetimes(SINCE.replace(tzinfo=None), UNTIL.replace(tzinfo=None), timezones=st.just(UTC)),
        st.sampled_from([None, OTHER_PROJECT]),
        st.sampled_from([None, OTHER_KEY]),
        st.sampled_from([Meter.RECALL, Meter.SEAL]),
        st.integers(1, 1000),
    ),
    max_size=25,
)
MOMENTS = st.datetimes(SINCE.replace(tzinfo=None), UNTIL.replace(tzinfo=None), timezones=st.just(UTC))


def store(tenant: Tenant, rows: list[Row]) -> None:
    """Store events; None is the tenant's own project, or no key."""
    with scope(tenant.organization):
        UsageEvent.objects.bulk_create(
            UsageEvent(
                project_id=project or tenant.project.pk, key_id=key, meter=meter, quantity=quantity, occurred_at=at
            )
            for at, project, key, meter, quantity in rows
        )


def asked(tenant: Tenant, **question: Any) -> dict[tuple[Any, ...], int]:
    """The answer as a dictionary."""
    with scope(tenant.organization):
        found = selectors.usage(**({"since": SINCE, "until": UNTIL} | question))
    assert [point.at for point in found.points] == sorted(point.at for point in found.points)
    return {(point.at, *point.group.values()): point.quantity for point in found.points}


@given(rows=ROWS, more=ROWS, since=MOMENTS, until=MOMENTS, grain=st.sampled_from(sorted(STARTS)))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_answer_is_the_sum_of_the_events_of_whole_hours(
    rows: list[Row], more: list[Row], since: datetime, until: datetime, grain: str, transactional_db: None
) -> None:
    tenant = make_tenant()
    store(tenant, rows)
    catch_up()
    store(tenant, more)  # a part is rolled up, a part is not
    expected: defaultdict[tuple[Any, ...], int] = defaultdict(int)
    for at, project, key, meter, quantity in rows + more:
        if STARTS["hour"](since) <= at and STARTS["hour"](at) < until:
            expected[STARTS[grain](at), meter.value, project or tenant.project.pk, key] += quantity
    question = {"since": since, "until": until, "grain": grain, "group_by": ["meter", "project", "key"]}
    assert asked(tenant, **question) == expected
    catch_up()
    assert asked(tenant, **question) == expected


def test_groups_and_filters_narrow_the_answer(tenant: Tenant) -> None:
    at = SINCE + timedelta(hours=5)
    store(
        tenant,
        [
            (at, None, None, Meter.RECALL, 1),
            (at, OTHER_PROJECT, OTHER_KEY, Meter.RECALL, 10),
            (at, OTHER_PROJECT, None, Meter.SEAL, 100),
        ],
    )
    day = SINCE
    assert asked(tenant, group_by=[]) == {(day,): 111}
    assert asked(tenant) == {(day, "recall"): 11, (day, "seal"): 100}
    assert asked(tenant, group_by=["key", "key"]) == {(day, None): 101, (day, OTHER_KEY): 10}
    assert asked(tenant, project_id=OTHER_PROJECT) == {(day, "recall"): 10, (day, "seal"): 100}
    assert asked(tenant, key_id=OTHER_KEY) == {(day, "recall"): 10}
    assert asked(tenant, meter="seal", group_by=["project"]) == {(day, OTHER_PROJECT): 100}
    assert asked(tenant, grain="month", group_by=[]) == {(day.replace(day=1),): 111}


@pytest.mark.parametrize("question", [{"grain": "week"}, {"group_by": ["session"]}, {"grain": "day'; DROP"}])
def test_an_unknown_grain_or_group_is_an_error(question: dict[str, Any], tenant: Tenant) -> None:
    with pytest.raises(KeyError):
        asked(tenant, **question)


def test_moments_of_any_time_zone_are_cut_to_utc_hours(tenant: Tenant) -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    store(tenant, [(SINCE + timedelta(minutes=10), None, None, Meter.RECALL, 1)])
    assert asked(tenant, since=SINCE.astimezone(india), until=UNTIL.astimezone(india), group_by=[]) == {(SINCE,): 1}


def test_usage_of_others_is_not_shown(tenant: Tenant, stranger: Tenant) -> None:
    store(stranger, [(SINCE, None, None, Meter.RECALL, 1)])
    assert asked(tenant) == {}
    with pytest.raises(NoScope):
        selectors.usage(since=SINCE, until=UNTIL)


def test_end_users_are_told_apart_before_and_after_the_roll_up(committed: Tenant) -> None:
    uses = [("ada", 2), ("bob", 3), ("ada", 5), ("", 7)]
    with scope(committed.organization):
        for end_user, quantity in uses:
            use = Use(committed.organization.pk, committed.project.pk, None, Meter.RECALL, quantity, end_user)
            services.record(use)
    today = now.now().replace(hour=0, minute=0, second=0, microsecond=0)
    question = {"since": today, "until": today + timedelta(days=1), "group_by": ["end_user"]}
    expected = {(today, ""): 7, (today, "ada"): 7, (today, "bob"): 3}
    assert asked(committed, **question) == expected
    catch_up()
    assert asked(committed, **question) == expected
    assert asked(committed, **question | {"end_user": "ada"}) == {(today, "ada"): 7}
    assert asked(committed, **question | {"end_user": "ada", "group_by": []}) == {(today,): 7}


def test_a_gauge_is_averaged_or_the_highest_and_never_summed(tenant: Tenant) -> None:
    gauges = [(Meter.STORED_BYTES, [10, 20, 45]), (Meter.END_USER, [3, 9, 4]), (Meter.SEAT, [2, 2, 1])]
    for meter, samples in gauges:
        for day, sample in enumerate(samples):
            at = SINCE + timedelta(days=day, hours=23)
            store(tenant, [(at, None, None, meter, sample), (at, OTHER_PROJECT, None, meter, 100)])
    store(tenant, [(SINCE, None, None, Meter.RECALL, 4), (SINCE + timedelta(days=1), None, None, Meter.RECALL, 5)])
    month = SINCE.replace(day=1)
    with scope(tenant.organization):
        found = selectors.totals(SINCE, UNTIL)
        assert selectors.totals(SINCE, SINCE + timedelta(days=1)).meters[Meter.RECALL] == 4
    assert found.meters == {Meter.RECALL: 9, Meter.STORED_BYTES: 125, Meter.END_USER: 109, Meter.SEAT: 102}
    assert found.as_of <= now.now()
    assert sum(asked(tenant).values()) == 9, "gauges are no part of a sum"
    question = {"group_by": ["project"], "meter": "stored_bytes", "until": SINCE + timedelta(days=2)}
    assert asked(tenant, grain="month", **question) == {(month, tenant.project.pk): 15, (month, OTHER_PROJECT): 100}
    assert asked(tenant, meter="active_end_user", group_by=[]) == {
        (SINCE + timedelta(days=day),): 100 + sample for day, sample in enumerate([3, 9, 4])
    }


def test_events_come_in_pages_by_id(tenant: Tenant, stranger: Tenant) -> None:
    store(tenant, [(SINCE + timedelta(minutes=n), None, None, Meter.RECALL, n) for n in range(5)])
    store(tenant, [(UNTIL, None, None, Meter.RECALL, 100), (SINCE, OTHER_PROJECT, OTHER_KEY, Meter.SEAL, 200)])
    store(stranger, [(SINCE, None, None, Meter.RECALL, 7)])
    with scope(tenant.organization):
        first = selectors.events(since=SINCE, until=UNTIL, meter="recall", limit=3)
        rest = selectors.events(since=SINCE, until=UNTIL, meter="recall", limit=3, after=first.after)
        assert [event.quantity for event in first.events + rest.events] == [0, 1, 2, 3, 4]
        assert (len(first.events), rest.after) == (3, None)
        [other] = selectors.events(since=SINCE, until=UNTIL, project_id=OTHER_PROJECT, key_id=OTHER_KEY).events
        assert other.quantity == 200
        assert selectors.events(since=SINCE, until=UNTIL, end_user="ada").events == []


def test_an_answer_of_too_many_points_is_refused(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "MOST_POINTS", 2)
    store(tenant, [(SINCE + timedelta(hours=n), None, None, Meter.RECALL, 1) for n in range(3)])
    with pytest.raises(selectors.TooManyPoints):
        asked(tenant, grain="hour")
    assert len(asked(tenant)) == 1


def test_the_chart_s_days_end_now(tenant: Tenant) -> None:
    moment = now.now()
    with scope(tenant.organization):
        services.record(Use(tenant.organization.pk, tenant.project.pk, None, Meter.RECALL, 3))
    store(
        tenant,
        [
            (moment - timedelta(days=1), None, None, Meter.RECALL, 5),
            (moment - timedelta(days=31), None, None, Meter.RECALL, 7),
        ],
    )
    with scope(tenant.organization):
        points = selectors.last_days().points
        assert [point.quantity for point in points] == [5, 3]
        assert [point.quantity for point in selectors.last_days(days=1).points] == [3]
        assert selectors.last_days(project_id=uuid4()).points == []
