"""An organization's periods follow each other without gap and overlap, whatever happens to what it has bought."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import month_after
from billing.periods import Period, Stretch, in_order, month_of, periods_after

ZONES = [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("America/St_Johns")]
# Around the ends of months and of summer time, in a leap year and out of one
STARTS = st.one_of(
    st.timedeltas(timedelta(0), timedelta(days=6 * 365)).map(lambda since: datetime(2023, 1, 1, tzinfo=UTC) + since),
    st.sampled_from(
        [
            datetime(2028, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
            datetime(2027, 1, 31, tzinfo=UTC),
            datetime(2027, 3, 28, 2, 30, tzinfo=ZONES[1]),
            datetime(2027, 10, 31, 2, 30, tzinfo=ZONES[1], fold=1),
        ]
    ),
).map(lambda moment: moment.astimezone(UTC))
LEAPS = st.one_of(
    st.timedeltas(timedelta(0), timedelta(days=75)), st.sampled_from([timedelta(days=n) for n in (1, 7, 28, 31, 40)])
)
HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(["wait", "sweep", "buy", "buy a year", "trial", "sign", "end", "end late", "renew", "move"]),
        LEAPS,
    ),
    max_size=25,
)


@dataclass
class World:
    """What an organization has bought, as our rows say it, and the periods that sweeps have found over."""

    now: datetime
    zone: tzinfo = UTC
    bought: list[Stretch[int]] = field(default_factory=list)
    over: list[Period] = field(default_factory=list)

    @property
    def live(self) -> Stretch[int] | None:
        """What nobody has ended yet."""
        return next((one for one in self.bought if one.ends_at is None), None)

    @property
    def since(self) -> datetime:
        """Where the next period begins."""
        return self.over[-1][1] if self.over else self.beginning

    def __post_init__(self) -> None:
        self.beginning = month_of(self.now)[0]

    def happen(self, what: str, leap: timedelta) -> None:
        """One thing, `leap` being how long or how far ahead or behind."""
        live = self.live
        if what == "wait":
            self.now += leap
        elif what == "sweep":
            self.sweep()
        elif live is None:
            self.buy(what, leap)
        elif what == "end":  # ahead of us: the time machine has been there
            self.change(live, ends_at=self.now + leap)
        elif what == "end late":
            self.change(live, ends_at=max(live.starts_at, self.now - leap))
        elif what == "renew" and live.until is not None:
            self.change(live, anchor=live.until, until=month_after(live.until, 1))
        elif what == "move" and live.until is not None:
            self.change(live, anchor=self.now, until=month_after(self.now, 1))

    def buy(self, what: str, leap: timedelta) -> None:
        """Something new, which may begin ahead of us."""
        start = (self.now + leap).astimezone(self.zone)
        end = start + leap if what == "trial" and leap else month_after(start, 1)
        if what in {"buy", "trial"}:
            self.bought.append(Stretch(len(self.bought), min(self.now, start), None, start, end))
        elif what in {"buy a year", "sign"}:
            self.bought.append(Stretch(len(self.bought), self.now, None, self.now))

    def change(self, old: Stretch[int], **values: Any) -> None:
        """Say something else of what was bought."""
        self.bought[self.bought.index(old)] = replace(old, **values)

    def sweep(self) -> None:
        """Keep what is over."""
        for period, _ in periods_after(self.since, self.bought):
            if period[1] > self.now:
                return
            self.over.append(period)


@given(STARTS, HAPPENINGS, st.sampled_from(ZONES))
def test_periods_have_no_gap_and_no_overlap_whatever_happens(
    start: datetime, happenings: list[tuple[str, timedelta]], zone: tzinfo
) -> None:
    world = World(start, zone)
    for what, leap in happenings:
        world.happen(what, leap)
        world.sweep()
        assert world.since <= world.now, "what runs has begun"
    coming = [period for period, _ in islice(periods_after(world.since, world.bought), 40)]
    periods = [*world.over, *coming]
    assert periods[0][0] == world.beginning
    for before, after in pairwise(periods):
        assert before[0] < before[1] == after[0]
    given_lengths = [one.until - one.anchor for one in world.bought if one.until is not None]
    longest = max([timedelta(days=31), *given_lengths])
    assert all(end - begin <= 2 * longest for begin, end in periods)
    running, _ = next(periods_after(world.since, world.bought))
    assert running[0] <= world.now < running[1]


@given(STARTS, HAPPENINGS)
def test_a_sweep_that_comes_late_finds_the_same_as_one_that_was_in_time(
    start: datetime, happenings: list[tuple[str, timedelta]]
) -> None:
    world = World(start)
    for what, leap in happenings:
        world.happen(what, leap)
    late = World(world.now, bought=list(world.bought))
    late.beginning = world.beginning
    world.over.clear()
    for _ in range(8):
        world.now = late.now = late.now + timedelta(days=17)
        world.sweep()
    late.sweep()
    assert late.over == world.over


@given(st.lists(st.tuples(STARTS, LEAPS, st.booleans()), max_size=8))
def test_no_moment_is_under_two_agreements(found: list[tuple[datetime, timedelta, bool]]) -> None:
    stretches = [
        Stretch(number, start, None if is_live else start + lasts, start)
        for number, (start, lasts, is_live) in enumerate(found)
    ]
    ordered = in_order(stretches)
    for before, after in pairwise(ordered):
        assert before.ends_at is not None
        assert before.starts_at < before.ends_at <= after.starts_at


def at(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2027, month, day, hour, tzinfo=UTC)


def first(count: int, since: datetime, *stretches: Stretch[str]) -> list[tuple[datetime, str]]:
    """Where the first periods end, and under what they are."""
    found = islice(periods_after(since, stretches), count)
    return [(period[1], stretch.agreed if stretch else "free") for period, stretch in found]


def test_without_an_agreement_periods_are_calendar_months() -> None:
    assert first(3, at(1, 1)) == [(at(2, 1), "free"), (at(3, 1), "free"), (at(4, 1), "free")]
    assert first(1, at(1, 17, 9)) == [(at(2, 1), "free")]


def test_a_period_ends_where_something_is_bought_and_where_it_ends() -> None:
    pro = Stretch("pro", at(1, 10, 9), at(3, 5), at(1, 10, 9), at(2, 10, 9))
    assert first(5, at(1, 1), pro) == [
        (at(1, 10, 9), "free"),
        (at(2, 10, 9), "pro"),
        (at(3, 5), "pro"),
        (at(4, 1), "free"),
        (at(5, 1), "free"),
    ]


def test_a_second_purchase_in_a_simulated_future_begins_where_the_first_one_ended() -> None:
    one = Stretch("one", at(1, 10), at(3, 5), at(2, 10), at(3, 10))
    two = Stretch("two", at(1, 11), None, at(3, 5), at(4, 5))
    assert first(4, at(1, 1), one, two) == [
        (at(1, 10), "free"),
        (at(2, 10), "one"),
        (at(3, 5), "one"),
        (at(4, 5), "two"),
    ]


def test_months_before_a_period_in_the_future_are_counted_back_from_it() -> None:
    ahead = Stretch("pro", at(1, 10), None, at(4, 12), at(5, 12))
    assert [end for end, _ in first(5, at(1, 10), ahead)] == [at(1, 12), at(2, 12), at(3, 12), at(4, 12), at(5, 12)]


@pytest.mark.parametrize(("year", "last"), [(2027, 28), (2028, 29)])
def test_the_31st_is_the_last_day_of_shorter_months_and_the_31st_again(year: int, last: int) -> None:
    start = datetime(year, 1, 31, tzinfo=UTC)
    ends = [end for end, _ in first(3, start, Stretch("contract", start, None, start))]
    assert [(end.month, end.day) for end in ends] == [(2, last), (3, 31), (4, 30)]
