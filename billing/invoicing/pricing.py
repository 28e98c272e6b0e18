"""Turns use into lines, by terms alone: no database, no clock, so that a replay computes what an invoice did."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.invoicing.models import InvoiceLine
from billing.invoicing.terms import Step, Terms
from billing.money import plus, round_line, times
from billing.plans import ALLOWANCE_NAMES, Allowance

Kind = InvoiceLine.Kind
# What counts towards a commit; a commit and a true-up are the commit
SPENDING = (Kind.PLAN, Kind.SEATS, Kind.USAGE, Kind.ADJUSTMENT)


@dataclass(frozen=True, slots=True)
class Charge:
    """A line to be: `quantity` times `unit_price`, of which `covered` was paid with a commit before.

    `before` is what the parts of its month before it cost exactly: all of them are rounded together with it, so that
    they add up to the month. `span` is the time that it is for, where that is not its period.
    """

    kind: Kind
    description: str
    quantity: int
    unit_price: Decimal
    period_start: datetime
    how: dict[str, Any]
    allowance: Allowance | None = None
    covered: int = 0
    before: Decimal = Decimal(0)
    span: tuple[datetime, datetime] | None = None

    @property
    def whole(self) -> int:
        """The price in whole minor units: rounded here, once."""
        until = plus(self.before, times(self.unit_price, self.quantity))
        return round_line(until)[0] - round_line(self.before)[0]

    @property
    def remainder(self) -> Decimal:
        """What the rounding left."""
        alone, rest = round_line(times(self.unit_price, self.quantity))
        return rest + (alone - self.whole)

    @property
    def amount(self) -> int:
        """What is to be paid."""
        return self.whole - self.covered


def billable(terms: Terms, allowance: Allowance, used: int) -> int:
    """The units above what is included; none where no more can be bought."""
    included = terms.allowances[allowance]
    if included.overage is None or terms.is_free:
        return 0
    return max(0, used - included.quantity)


def charges(terms: Terms, used: Mapping[Allowance, int], period_start: datetime) -> list[Charge]:
    """The lines of a period before any commit: the plan, seats, and each allowance that was used."""
    if terms.is_free:
        return []
    fee = Charge(Kind.PLAN, f"{terms.plan_key.title()} plan", 1, Decimal(terms.fee), period_start, {})
    priced = [one for one in Allowance if one in used and one in terms.allowances]
    return [*([fee] if terms.fee else []), *(_usage(terms, one, used[one], period_start) for one in priced)]


def _usage(terms: Terms, allowance: Allowance, used: int, period_start: datetime) -> Charge:
    included = terms.allowances[allowance]
    return Charge(
        kind=Kind.SEATS if allowance is Allowance.SEATS else Kind.USAGE,
        description=f"{ALLOWANCE_NAMES[allowance]}: {used:,} used, {included.quantity:,} included",
        quantity=billable(terms, allowance, used),
        unit_price=included.overage or Decimal(0),
        period_start=period_start,
        allowance=allowance,
        how={"used": used, "included": included.quantity},
    )


def adjustment(terms: Terms, allowance: Allowance, *, billed: int, used: int, period_start: datetime) -> Charge:
    """What came late for a period that was billed: priced by that period's terms, above what it included."""
    return Charge(
        kind=Kind.ADJUSTMENT,
        description=f"{ALLOWANCE_NAMES[allowance]} of the period from {period_start:%d %B %Y}: "
        f"{used:,} used, {billed:,} billed before",
        quantity=billable(terms, allowance, used) - billable(terms, allowance, billed),
        unit_price=terms.allowances[allowance].overage or Decimal(0),
        period_start=period_start,
        allowance=allowance,
        how={"used": used, "billed": billed, "included": terms.allowances[allowance].quantity},
    )


def against_paid_commit(lines: Iterable[Charge], commit: int, spent: int) -> list[Charge]:
    """The lines less what the commit of their step, which is paid, covers; `spent` is what the step cost before.

    Together with the commit they come to what the step costs, or the commit where that is more.
    """
    result = []
    for line in lines:
        owed = max(commit, spent + line.whole) - max(commit, spent)
        result.append(replace(line, covered=line.whole - owed))
        spent += line.whole
    return result


def commit_line(step: Step, period_start: datetime) -> Charge:
    """The commit of a prepaid step, for its first invoice."""
    text = f"Commit until {step.end:%d %B %Y}"
    return Charge(Kind.COMMIT, text, 1, Decimal(step.commit), period_start, {"commit": step.commit})


def true_up_line(step: Step, period_start: datetime, spent: int) -> Charge:
    """What a step's last invoice adds where the step cost less than its commit."""
    return Charge(
        Kind.TRUE_UP,
        f"True-up to the commit of the time from {step.start:%d %B %Y}",
        1,
        Decimal(step.commit - spent),
        period_start,
        {"commit": step.commit, "spent": spent},
    )


def with_commit(
    lines: Sequence[Charge], step: Step, *, period: tuple[datetime, datetime], spent: int, is_first: bool
) -> list[Charge]:
    """The lines of a period as its step lets them be paid; `spent` is what the step cost before this period.

    Whatever was used, and however it is paid: the invoices of a step add up to what was used in it, or to its commit
    where that is more.
    """
    start, end = period
    if step.is_prepaid:
        first = [commit_line(step, start)] if is_first and step.commit else []
        return [*first, *against_paid_commit(lines, step.commit, spent)]
    total = spent + sum(line.whole for line in lines)
    is_short = end >= step.end and total < step.commit
    return [*lines, true_up_line(step, start, total)] if is_short else list(lines)
