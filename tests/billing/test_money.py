"""Money keeps every cent and every fraction of one, and months begin on the day they should."""

import itertools
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import CurrencyMismatch, Money, month_after, prorate, round_line, times

EXACT = st.decimals(-(10**12), 10**12, places=12)
AMOUNTS = st.integers(-(10**12), 10**12)
SPANS = st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=400))


@given(EXACT)
def test_a_line_and_its_remainder_are_what_was_used(exact: Decimal) -> None:
    amount, remainder = round_line(exact)
    assert Decimal(amount) + remainder == exact
    assert abs(remainder) <= Decimal("0.5")


@given(st.lists(EXACT, max_size=50))
def test_the_sum_of_an_invoice_is_off_by_its_remainders_and_nothing_else(lines: list[Decimal]) -> None:
    rounded = [round_line(line) for line in lines]
    assert sum(amount for amount, _ in rounded) + sum(rest for _, rest in rounded) == sum(lines)


@pytest.mark.parametrize(
    ("exact", "amount"), [("0.5", 0), ("1.5", 2), ("2.5", 2), ("-0.5", 0), ("-1.5", -2), ("0.500000000001", 1)]
)
def test_half_a_cent_goes_to_the_even_one(exact: str, amount: int) -> None:
    assert round_line(Decimal(exact))[0] == amount


@given(AMOUNTS)
def test_a_credit_note_takes_back_exactly_what_the_invoice_said(hundredths: int) -> None:
    exact = Decimal(hundredths) / 100
    assert round_line(-exact)[0] == -round_line(exact)[0]


@given(st.decimals(0, 10**6, places=12), st.integers(0, 2**63), st.integers(0, 2**63))
def test_the_price_of_two_quantities_is_the_price_of_their_sum(rate: Decimal, one: int, other: int) -> None:
    apart = times(rate, one).as_integer_ratio(), times(rate, other).as_integer_ratio()
    whole = times(rate, one + other).as_integer_ratio()
    assert sum(n * (10**12 // d) for n, d in apart) == whole[0] * (10**12 // whole[1])


@given(AMOUNTS, SPANS, st.floats(0, 1))
def test_a_period_cut_in_two_costs_what_it_cost_whole(amount: int, whole: timedelta, at: float) -> None:
    part = min(whole * at, whole)
    assert prorate(amount, part, whole) + prorate(amount, whole - part, whole) == amount


@given(AMOUNTS, SPANS, st.lists(st.floats(0, 1), max_size=20))
def test_shares_of_a_period_add_up_to_the_amount(amount: int, whole: timedelta, cuts: list[float]) -> None:
    edges = [timedelta(0), *sorted(min(whole * cut, whole) for cut in cuts), whole]
    shares = [prorate(amount, end - start, whole) for start, end in itertools.pairwise(edges)]
    assert abs(sum(shares, Decimal(0)) - amount) <= len(shares) * Decimal("5e-13")


@given(st.integers(0, 10**12), SPANS, st.floats(0, 1), st.floats(0, 1))
def test_a_longer_share_never_costs_less(amount: int, whole: timedelta, one: float, other: float) -> None:
    short, long = (min(whole * cut, whole) for cut in sorted((one, other)))
    assert 0 <= prorate(amount, short, whole) <= prorate(amount, long, whole) <= amount


@pytest.mark.parametrize(("part", "whole"), [(-1, 30), (31, 30), (0, 0)])
def test_what_is_no_part_of_a_period_has_no_price(part: int, whole: int) -> None:
    with pytest.raises(ValueError, match="no part"):
        prorate(100, timedelta(days=part), timedelta(days=whole))


@pytest.mark.parametrize(
    ("year", "days"),
    [(2025, ["01-31", "02-28", "03-31", "04-30"]), (2028, ["01-31", "02-29", "03-31", "04-30"])],
)
def test_the_31st_becomes_the_last_of_february_and_the_31st_again(year: int, days: list[str]) -> None:
    anchor = datetime(year, 1, 31, 9, 30, tzinfo=UTC)
    assert [f"{month_after(anchor, n):%m-%d}" for n in range(4)] == days
    assert month_after(anchor, 3).hour == 9


def test_a_leap_day_has_its_anniversary_on_the_28th_and_comes_back() -> None:
    born = datetime(2028, 2, 29, tzinfo=UTC)
    assert [f"{month_after(born, 12 * n):%Y-%m-%d}" for n in (1, 4, -4)] == ["2029-02-28", "2032-02-29", "2024-02-29"]


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)), st.integers(0, 400))  # noqa: DTZ001
def test_periods_follow_each_other_without_gap_or_overlap(anchor: datetime, n: int) -> None:
    start, end = month_after(anchor, n), month_after(anchor, n + 1)
    assert timedelta(days=28) <= end - start <= timedelta(days=31)
    assert (end.year * 12 + end.month) - (anchor.year * 12 + anchor.month) == n + 1
    assert end.timetz() == anchor.timetz()


def test_summer_time_moves_no_period() -> None:
    berlin = datetime(2026, 3, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))  # the clocks change on 29 March
    assert month_after(berlin, 1) == datetime(2026, 4, 1, 11, tzinfo=UTC)
    assert month_after(berlin, 1) - month_after(berlin, 0) == timedelta(days=31)
    late = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))  # still December in UTC
    assert month_after(late, 1) == datetime(2026, 1, 31, 23, tzinfo=UTC)


def test_a_moment_without_a_time_zone_is_no_anchor() -> None:
    with pytest.raises(ValueError, match="time zone"):
        month_after(datetime(2026, 1, 31), 1)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(123_450, "usd"), "$1,234.50"),
        (Money(-5, "usd"), "-$0.05"),
        (-Money(5, "eur"), "-€0.05"),
        (Money(1200, "chf"), "12.00 CHF"),
        (Money(0, "usd"), "$0.00"),
    ],
)
def test_money_reads_as_people_write_it(money: Money, text: str) -> None:
    assert str(money) == text


def test_two_currencies_never_become_one() -> None:
    assert Money(1, "usd") + Money(2, "usd") == Money(3, "usd")
    with pytest.raises(CurrencyMismatch):
        Money(1, "usd") + Money(1, "eur")
