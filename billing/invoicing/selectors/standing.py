"""Reads where a contract stands: what each step commits to, what was used of it, and what is to be expected."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.invoicing.models import Contract, InvoiceLine
from billing.invoicing.pricing import SPENDING
from billing.invoicing.selectors.contracts import agreed_plan, months_of, ramp
from billing.invoicing.terms import Step
from billing.money import prorate, round_line
from billing.plans import Allowance, Plan
from billing.selectors.so_far import so_far
from tenancy.clock import here

Period = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Month:
    """A month of a contract: its part of the step's commit, and what it has cost, until now where it runs."""

    start: datetime
    commit: int
    spent: int


@dataclass(frozen=True, slots=True)
class StepStanding:
    """A step in minor units: `billed` by invoices, `running` by the month under way, `expected` when it is over.

    What is expected takes the fixed price of every month as certain, and goes on with the use as it was so far.
    """

    step: Step
    billed: int
    running: int
    expected: int

    @property
    def used(self) -> int:
        """What counts towards the commit until now."""
        return self.billed + self.running

    @property
    def left(self) -> int:
        """How much of the commit is not used yet."""
        return max(0, self.step.commit - self.used)

    @property
    def true_up(self) -> int:
        """What the step's last invoice is expected to add; nothing of a commit that was paid ahead."""
        return 0 if self.step.is_prepaid else max(0, self.step.commit - self.expected)


@dataclass(frozen=True, slots=True)
class Standing:
    """A contract as of `as_of`; `follows` is the one after it, if there is one."""

    contract: Contract
    plan: Plan
    steps: tuple[StepStanding, ...]
    months: tuple[Month, ...]
    follows: Contract | None
    as_of: datetime

    @property
    def state(self) -> str:
        """`starts`, `runs` or `ended`."""
        if self.as_of < self.contract.starts_at:
            return "starts"
        return "runs" if self.as_of < self.contract.ends_at else "ended"

    @property
    def seats(self) -> int:
        """The people who are paid for: now, or when it begins."""
        return self.contract.subscription.seats if self.contract.subscription else self.contract.seats

    @property
    def current(self) -> StepStanding | None:
        """The step that runs; None before the first and after the last."""
        return next((one for one in self.steps if one.step.start <= self.as_of < one.step.end), None)


def standing() -> Standing | None:
    """Where the contract of the organization in scope stands: the one that runs, else the next, else the last one."""
    now = here()
    known = list(Contract.objects.select_related("subscription").order_by("starts_at"))
    if not known:
        return None
    contract = next((one for one in known if one.ends_at > now), known[-1])
    plan = agreed_plan(contract)
    months = months_of(contract, contract.ends_at)
    spent = _spent(months)
    running = _running(plan, contract) if contract.starts_at <= now < contract.ends_at else 0
    steps = tuple(_stands(step, plan, months, spent, running, now) for step in ramp(contract))
    return Standing(
        contract=contract,
        plan=plan,
        steps=steps,
        months=tuple(
            Month(month[0], _share_of(month, steps), cost + (running if month[0] <= now < month[1] else 0))
            for month, cost in zip(months, spent, strict=True)
        ),
        follows=next((one for one in known if one.starts_at >= contract.ends_at), None),
        as_of=now,
    )


def _spent(months: Sequence[Period]) -> list[int]:
    """What invoices have counted for each month, however it was paid."""
    lines = InvoiceLine.objects.filter(
        kind__in=SPENDING, period_start__gte=months[0][0], period_start__lt=months[-1][1]
    ).values_list("period_start", "amount", "covered")
    result = [0] * len(months)
    starts = [month[0] for month in months]
    for start, amount, covered in lines:
        result[bisect_right(starts, start) - 1] += amount + covered
    return result


def _running(plan: Plan, contract: Contract) -> int:
    """What the month under way comes to until now: the fixed price, the seats that are paid for, and what is above."""
    found = so_far()
    subscription = contract.subscription
    seats = next(one for one in found.allowances if one.allowance is Allowance.SEATS)
    bought = max(0, (subscription.seats if subscription else 0) - seats.included.quantity) * plan.seat
    above = sum(one.cost.amount for one in found.allowances if one.allowance is not Allowance.SEATS)
    return plan.monthly + max(seats.cost.amount, bought) + above


def _stands(
    step: Step, plan: Plan, months: Sequence[Period], spent: Sequence[int], running: int, now: datetime
) -> StepStanding:
    mine = [(month, cost) for month, cost in zip(months, spent, strict=True) if step.start <= month[0] < step.end]
    billed = sum(cost for _, cost in mine)
    running = running if step.start <= now < step.end else 0
    fixed = plan.monthly * len(mine)
    known = billed + running
    if now >= step.end or not known:
        return StepStanding(step, billed, running, billed if now >= step.end else fixed)
    use = max(0, known - plan.monthly * sum(month[0] <= now for month, _ in mine))
    return StepStanding(step, billed, running, fixed + _at_pace(use, step, now))


def _at_pace(use: int, step: Step, now: datetime) -> int:
    """What use comes to at the end of a step if it goes on as it did."""
    passed, whole = ((moment - step.start).total_seconds() for moment in (now, step.end))
    return round(use * whole / passed) if passed else use


def _share_of(month: Period, steps: Sequence[StepStanding]) -> int:
    """A month's part of its step's commit: those of a step add up to it."""
    for one in steps:
        if one.step.start <= month[0] < one.step.end:
            whole = one.step.end - one.step.start
            until, since = (
                round_line(prorate(one.step.commit, moment - one.step.start, whole))[0]
                for moment in (month[1], month[0])
            )
            return until - since
    return 0
