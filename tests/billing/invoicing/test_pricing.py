"""Properties of the money: lines add up exactly, none is below zero, and a step costs its use or its commit."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from billing.invoicing import pricing
from billing.invoicing.pricing import Charge, Kind
from billing.invoicing.terms import Step, Terms, from_json, step_at, steps_of
from billing.money import month_after, times
from billing.plans import Allowance, Included

START = datetime(2026, 1, 31, tzinfo=UTC)
AMOUNTS = st.integers(0, 10**9)
RATES = st.decimals(0, 1000, allow_nan=False, places=12)
INCLUDED = st.builds(Included, st.integers(0, 10**6), st.none() | RATES)
ALLOWANCES = st.fixed_dictionaries(dict.fromkeys(Allowance, INCLUDED))
USED = st.dictionaries(st.sampled_from(Allowance), st.integers(0, 10**9))
RAMPS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 10**8)), min_size=1, max_size=5)


def terms(allowances: dict[Allowance, Included], fee: int = 0, step: Step | None = None) -> Terms:
    """Terms of a contract's month."""
    return Terms("enterprise", 1, "usd", fee, 5, allowances, step)


@given(ALLOWANCES, USED, AMOUNTS)
def test_each_line_is_rounded_once_and_keeps_what_is_left(
    allowances: dict[Allowance, Included], used: dict[Allowance, int], fee: int
) -> None:
    for line in pricing.charges(terms(allowances, fee), used, START):
        assert line.amount >= 0
        assert abs(line.remainder) <= Decimal("0.5")
        assert line.amount + line.remainder == times(line.unit_price, line.quantity)


@given(ALLOWANCES, st.sampled_from(Allowance), st.lists(st.integers(0, 10**7), min_size=2, max_size=6))
def test_adjustments_bring_the_bill_to_what_it_would_have_been(
    allowances: dict[Allowance, Included], allowance: Allowance, known: list[int]
) -> None:
    agreed = terms(allowances)
    units = pricing.billable(agreed, allowance, known[0])
    for billed, used in pairwise(known):
        line = pricing.adjustment(agreed, allowance, billed=billed, used=used, period_start=START)
        units += line.quantity
    assert units == pricing.billable(agreed, allowance, known[-1])


@given(RAMPS, st.booleans(), st.data())
def test_a_step_costs_what_was_used_in_it_or_its_commit(
    ramp: list[tuple[int, int]], is_prepaid: bool, data: st.DataObject
) -> None:
    steps = steps_of(
        starts_at=START,
        ends_at=month_after(START, sum(months for months, _ in ramp)),
        steps=[{"months": months, "commit": commit} for months, commit in ramp],
        is_prepaid=is_prepaid,
    )
    paid = dict.fromkeys(steps, 0)
    used = dict.fromkeys(steps, 0)
    for n in range(sum(months for months, _ in ramp)):
        period = (month_after(START, n), month_after(START, n + 1))
        step = step_at(period[0], steps)
        assert step is not None
        lines = [
            Charge(Kind.USAGE, "", data.draw(st.integers(0, 10**6)), data.draw(RATES), period[0], {})
            for _ in range(data.draw(st.integers(0, 3)))
        ]
        invoiced = pricing.with_commit(lines, step, period=period, spent=used[step], is_first=period[0] == step.start)
        assert all(line.amount >= 0 and line.covered >= 0 for line in invoiced)
        paid[step] += sum(line.amount for line in invoiced)
        used[step] += sum(line.whole for line in lines)
        assert is_prepaid or paid[step] >= used[step]
    assert paid == {step: max(step.commit, used[step]) for step in steps}


@given(st.integers(0, 10**8), st.lists(st.integers(-(10**4), 10**7), max_size=8))
def test_corrections_of_a_paid_step_are_paid_as_far_as_they_leave_its_commit(
    commit: int, corrections: list[int]
) -> None:
    spent, paid = 10**6, max(commit, 10**6)
    for units in corrections:
        [line] = pricing.against_paid_commit([Charge(Kind.ADJUSTMENT, "", units, Decimal(1), START, {})], commit, spent)
        paid += line.amount
        spent += units
    assert paid == max(commit, spent)


@given(RAMPS)
def test_a_ramp_has_no_gaps_and_keeps_the_day_of_its_start(ramp: list[tuple[int, int]]) -> None:
    months = sum(count for count, _ in ramp)
    kept = [{"months": count, "commit": commit} for count, commit in ramp]
    steps = steps_of(starts_at=START, ends_at=month_after(START, months), steps=kept, is_prepaid=False)
    assert [step.commit for step in steps] == [commit for _, commit in ramp]
    assert [step.start for step in steps[1:]] == [step.end for step in steps[:-1]]
    assert (steps[0].start, steps[-1].end) == (START, month_after(START, months))
    cut = steps_of(starts_at=START, ends_at=month_after(START, 1), steps=kept, is_prepaid=False)
    assert [(step.end, step.commit) for step in cut] == [(month_after(START, 1), ramp[0][1])]


@given(ALLOWANCES, st.none() | AMOUNTS)
def test_terms_survive_being_kept_as_json(allowances: dict[Allowance, Included], commit: int | None) -> None:
    step = None if commit is None else Step(START, month_after(START, 3), commit, is_prepaid=True)
    agreed = terms(allowances, 7, step)
    assert from_json(agreed.as_json()) == agreed
