"""Cuts a period where what was agreed has changed in it, and where a month ends: no database, no clock."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from billing.invoicing.terms import Part
from billing.money import month_after
from billing.plans import Allowance, Included, Plan

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Held:
    """The plan's version and the seats from `since` on."""

    since: datetime
    plan: Plan
    seats: int


@dataclass(frozen=True, slots=True)
class Months:
    """The months of an agreement, as billing/periods.py counts them: one of them is from `anchor` to `until`.

    Without `until` every month is counted from the anchor, so that 31 January leads to 28 February and to 31 March.
    """

    anchor: datetime
    until: datetime | None = None

    def around(self, moment: datetime) -> Span:
        """The month that a moment is in."""
        if self.until is not None and self.anchor <= moment < self.until:
            return self.anchor, self.until
        base = self.anchor if self.until is None or moment < self.anchor else self.until
        moment, base = moment.astimezone(UTC), base.astimezone(UTC)
        n = (moment.year - base.year) * 12 + moment.month - base.month
        if month_after(base, n) > moment:
            n -= 1
        return month_after(base, n), month_after(base, n + 1)


def parts_of(
    period: Span, held: Sequence[Held], *, months: Months, allowances: Callable[[Plan], Mapping[Allowance, Included]]
) -> tuple[Part, ...]:
    """The parts of a period; `held` is what was agreed, the oldest first, which counts for the time before it too."""
    start, end = period
    cuts = {one.since for one in held if start < one.since < end}
    cuts |= {edge for edge in _edges(period, months) if start < edge < end}
    return tuple(_part(span, held, months, allowances) for span in pairwise(sorted({start, end, *cuts})))


def is_plain(parts: Sequence[Part]) -> bool:
    """Whether it is one whole month under one agreement: then it is priced as a whole."""
    return len(parts) == 1 and (parts[0].start, parts[0].end) == parts[0].month


def _part(
    span: Span, held: Sequence[Held], months: Months, allowances: Callable[[Plan], Mapping[Allowance, Included]]
) -> Part:
    now = next((one for one in reversed(held) if one.since <= span[0]), held[0])
    return Part(
        start=span[0],
        end=span[1],
        month=months.around(span[0]),
        plan_key=now.plan.key,
        plan_version=now.plan.version,
        fee=now.plan.monthly,
        seats=now.seats,
        allowances=allowances(now.plan),
    )


def _edges(period: Span, months: Months) -> list[datetime]:
    edges, moment = [], period[0]
    while moment < period[1]:
        moment = months.around(moment)[1]
        edges.append(moment)
    return edges
