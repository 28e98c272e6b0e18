"""Parts of a month: however it is cut, they are the month to the cent, and use is priced by the plan of its hour."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoicing import pricing, prorating
from billing.invoicing.parts import Held, Months, is_plain, parts_of
from billing.invoicing.pricing import Charge, Kind
from billing.invoicing.terms import Part, Terms, from_json
from billing.money import month_after, round_line, times
from billing.plans import Allowance, Included, Plan, plan

START = datetime(2026, 8, 1, tzinfo=UTC)
END = datetime(2026, 9, 1, tzinfo=UTC)
MONTH = (START, END)
SECONDS = int((END - START).total_seconds())
CUTS = st.lists(st.integers(1, SECONDS - 1), max_size=6, unique=True).map(sorted)
PRO, SCALE = plan("pro", 1), plan("scale", 1)


def part(start: datetime, end: datetime, of: Plan = PRO, seats: int = 1, **changes: object) -> Part:
    values = {"fee": of.monthly, "allowances": of.allowances, "month": MONTH} | changes
    return Part(start=start, end=end, plan_key=of.key, plan_version=of.version, seats=seats, **values)  # type: ignore[arg-type]


def terms(*parts: Part) -> Terms:
    last = parts[-1]
    return Terms(
        last.plan_key, last.plan_version, "usd", fee=last.fee, seats=last.seats, allowances=last.allowances, parts=parts
    )


def edges(cuts: list[int]) -> list[datetime]:
    return [START, *(START + timedelta(seconds=one) for one in cuts), END]


def of_kind(lines: list[Charge], kind: Kind) -> list[Charge]:
    return [line for line in lines if line.kind is kind]


@given(CUTS, st.integers(0, 10**9), st.integers(0, 10**5), st.integers(1, 50))
def test_the_parts_of_a_month_are_the_month_to_the_cent(cuts: list[int], fee: int, seat: int, seats: int) -> None:
    allowances = {Allowance.SEATS: Included(0, Decimal(seat))}
    # each part on another version, so that none is joined with its neighbour
    agreed = terms(
        *(
            Part(start, end, MONTH, "pro", number, fee, seats, allowances)
            for number, (start, end) in enumerate(pairwise(edges(cuts)), start=1)
        )
    )
    lines = prorating.charges(agreed, {}, START)
    assert sum(line.whole for line in of_kind(lines, Kind.PLAN)) == fee
    assert sum(line.whole for line in of_kind(lines, Kind.SEATS)) == seat * seats
    for line in lines:
        assert line.whole >= 0
        assert abs(line.remainder) <= 1
        assert line.whole + line.remainder == times(line.unit_price, line.quantity)


@given(CUTS, st.integers(0, 10**6))
def test_a_month_cut_over_two_invoices_is_the_month_to_the_cent(cuts: list[int], fee: int) -> None:
    total = 0
    for start, end in pairwise(edges(cuts)):
        total += sum(line.whole for line in prorating.charges(terms(part(start, end, fee=fee)), {}, start))
    assert total == fee


@given(CUTS, st.integers(0, 10**9), st.lists(st.integers(0, 10**9), min_size=7, max_size=7))
def test_what_is_included_is_shared_to_the_unit_and_use_priced_in_its_part(
    cuts: list[int], quantity: int, use: list[int]
) -> None:
    parts = [
        Part(start, end, MONTH, "pro", n, 0, 1, {Allowance.OPERATIONS: Included(quantity, Decimal(n))})
        for n, (start, end) in enumerate(pairwise(edges(cuts)), start=1)
    ]
    used = {(one.start, one.end): {Allowance.OPERATIONS: count} for one, count in zip(parts, use, strict=False)}
    lines = prorating.charges(terms(*parts), used, START)
    assert sum(line.how["included"] for line in lines) == quantity
    for one, line in zip(parts, lines, strict=True):
        count = used[one.start, one.end][Allowance.OPERATIONS]
        assert line.unit_price == one.plan_version
        assert line.quantity == max(0, count - line.how["included"])
        assert line.whole + line.remainder == times(line.unit_price, line.quantity)


@given(CUTS, st.lists(st.integers(0, 10**9), min_size=7, max_size=7), st.lists(st.integers(0, 10**9), min_size=7))
def test_late_use_brings_each_part_to_what_it_would_have_cost(
    cuts: list[int], before: list[int], now: list[int]
) -> None:
    parts = [
        Part(start, end, MONTH, "pro", n, 0, 1, {Allowance.OPERATIONS: Included(1000, Decimal(n))})
        for n, (start, end) in enumerate(pairwise(edges(cuts)), start=1)
    ]

    def used(counts: list[int]) -> Mapping[prorating.Span, Mapping[Allowance, int]]:
        return {(one.start, one.end): {Allowance.OPERATIONS: count} for one, count in zip(parts, counts, strict=False)}

    agreed = terms(*parts)
    billed = prorating.charges(agreed, used(before), START)
    late = list(prorating.adjustments(agreed, billed=used(before), used=used(now), period_start=START))
    meant = prorating.charges(agreed, used(now), START)
    assert sum(line.whole for line in [*billed, *late]) == sum(line.whole for line in meant)
    assert all(line.kind is Kind.ADJUSTMENT and line.how["used"] != line.how["billed"] for line in late)


def test_an_upgrade_in_the_middle_is_billed_by_what_was_in_force() -> None:
    middle = datetime(2026, 8, 11, 12, 30, tzinfo=UTC)
    agreed = terms(part(START, middle, PRO), part(middle, END, SCALE))
    used = {
        (START, middle): {Allowance.OPERATIONS: 100_000, Allowance.STORED_BYTES: 20 * 10**9},
        (middle, END): {Allowance.OPERATIONS: 2_500_000, Allowance.STORED_BYTES: 20 * 10**9},
    }
    lines = prorating.charges(agreed, used, START)
    share = (middle - START) / (END - START)
    assert [line.description for line in of_kind(lines, Kind.PLAN)] == [
        "Pro plan, 1 Aug 00:00 to 11 Aug 12:30",
        "Scale plan, 11 Aug 12:30 to 1 Sep 00:00",
    ]
    assert [line.whole for line in of_kind(lines, Kind.PLAN)] == [round(29_00 * share), round(249_00 * (1 - share))]
    operations = [line for line in lines if line.allowance is Allowance.OPERATIONS]
    assert [line.unit_price for line in operations] == [Decimal("0.012"), Decimal("0.008")]
    assert [line.how["included"] for line in operations] == [round(250_000 * share), round(3_000_000 * (1 - share))]
    stored = [line for line in lines if line.allowance is Allowance.STORED_BYTES]
    assert [line.quantity for line in stored] == [round(10 * 10**9 * share), 0]  # above what each includes


def test_seats_that_change_leave_plan_and_use_in_one_line() -> None:
    middle = START + timedelta(days=10)
    agreed = terms(part(START, middle, seats=12), part(middle, END, seats=15))
    lines = prorating.charges(agreed, {MONTH: {Allowance.OPERATIONS: 250_001}}, START)
    assert [(line.quantity, line.whole) for line in of_kind(lines, Kind.PLAN)] == [(1, 29_00)]
    seats = of_kind(lines, Kind.SEATS)
    assert [(line.quantity, line.whole) for line in seats] == [
        (2, round_line(Decimal(2 * 9_00 * 10) / 31)[0]),
        (5, 5 * 9_00 - round_line(Decimal(5 * 9_00 * 10) / 31)[0]),
    ]
    [line] = of_kind(lines, Kind.USAGE)
    assert (line.quantity, line.how["included"], line.span) == (1, 250_000, MONTH)
    assert line.description == "Memory operations (ingest, recall, seal, import): 250,001 used, 250,000 included"


def test_terms_in_parts_survive_being_kept_as_json() -> None:
    agreed = terms(part(START, START + timedelta(days=3)), part(START + timedelta(days=3), END, SCALE, 40))
    assert from_json(agreed.as_json()) == agreed
    assert "parts" not in Terms("pro", 1, "usd", 0, 1, PRO.allowances).as_json()


@given(st.lists(st.integers(-(10**6), SECONDS + 10**6), min_size=1, max_size=5, unique=True).map(sorted), st.data())
def test_a_period_is_cut_where_something_changed_and_where_a_month_ends(
    moments: list[int], data: st.DataObject
) -> None:
    held = [Held(START + timedelta(seconds=one), PRO, number) for number, one in enumerate(moments, start=1)]
    period = (
        START + timedelta(days=data.draw(st.integers(0, 20))),
        END + timedelta(days=data.draw(st.integers(0, 70))),
    )
    found = parts_of(period, held, months=Months(START), allowances=lambda one: one.allowances)
    assert (found[0].start, found[-1].end) == period
    assert all(one.end == other.start for one, other in pairwise(found))
    for one in found:
        assert one.month[0] <= one.start < one.end <= one.month[1]
        assert one.seats == max((n for n, row in enumerate(held, start=1) if row.since <= one.start), default=1)


@pytest.mark.parametrize(
    ("moment", "until", "month"),
    [
        (
            datetime(2026, 3, 15, tzinfo=UTC),
            None,
            (datetime(2026, 2, 28, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)),
        ),
        (datetime(2026, 2, 3, tzinfo=UTC), END, (datetime(2026, 1, 31, tzinfo=UTC), END)),
        (datetime(2026, 9, 15, tzinfo=UTC), END, (END, month_after(END, 1))),
        (
            datetime(2025, 12, 31, 5, tzinfo=UTC),
            END,
            (datetime(2025, 12, 31, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC)),
        ),
    ],
)
def test_months_are_counted_as_periods_are(
    moment: datetime, until: datetime | None, month: tuple[datetime, datetime]
) -> None:
    assert Months(datetime(2026, 1, 31, tzinfo=UTC), until).around(moment) == month


def test_a_whole_month_under_one_agreement_is_plain() -> None:
    held = [Held(START, PRO, 1)]
    assert is_plain(parts_of(MONTH, held, months=Months(START), allowances=lambda one: one.allowances))
    short = (START, END - timedelta(seconds=1))
    assert not is_plain(parts_of(short, held, months=Months(START), allowances=lambda one: one.allowances))
    assert pricing.charges(Terms("pro", 1, "usd", 29_00, 1, PRO.allowances), {}, START)[0].whole == 29_00
