"""Reads where the period that runs stands: what was used of what is included, and what more has cost until now."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.metering.hours import hour_of
from billing.metering.meters import GAUGES
from billing.metering.selectors import totals
from billing.models import Subscription
from billing.money import Money, round_line, times
from billing.plans import ALLOWANCE_METERS, Allowance, Included, Interval
from billing.quotas.selectors import billing_period
from billing.selectors.entitlements import Entitlements, effective
from tenancy.models import Membership


@dataclass(frozen=True, slots=True)
class AllowanceSoFar:
    """One allowance: `used` is None where the period has no sample yet; `cost` is that of what is not included."""

    allowance: Allowance
    used: int | None
    included: Included
    cost: Money

    @property
    def share(self) -> float:
        """How much of what is included is used; above 1 where more is."""
        return (self.used or 0) / self.included.quantity if self.included.quantity else float(bool(self.used))

    @property
    def is_sampled(self) -> bool:
        """Whether it is a daily sample and not a count."""
        return bool(ALLOWANCE_METERS[self.allowance] & GAUGES)


@dataclass(frozen=True, slots=True)
class SoFar:
    """The period under way as of `as_of`."""

    starts_at: datetime
    ends_at: datetime
    entitled: Entitlements
    allowances: tuple[AllowanceSoFar, ...]
    as_of: datetime

    @property
    def overage(self) -> Money:
        """What use above what is included has cost so far, each allowance rounded once as its invoice line will be."""
        return Money(sum(one.cost.amount for one in self.allowances), self.entitled.plan.currency)


def so_far(*, now: datetime | None = None) -> SoFar:
    """Where the organization in scope stands. Seats are its members now."""
    period, entitled = billing_period(), effective(now=now)
    # an hour that a boundary cuts belongs to the later period, as on invoices
    found = totals(hour_of(period.starts_at), hour_of(period.ends_at))
    used: dict[Allowance, int | None] = {Allowance.SEATS: Membership.objects.count()}
    for one, meters in ALLOWANCE_METERS.items():
        sums = [found.meters[meter] for meter in meters if meter in found.meters]
        used.setdefault(one, sum(sums) if sums or not meters & GAUGES else None)
    allowances = tuple(
        AllowanceSoFar(one, used.get(one), included, _cost(used.get(one) or 0, included, entitled.plan.currency))
        for one, included in entitled.allowances.items()
    )
    return SoFar(period.starts_at, period.ends_at, entitled, allowances, found.as_of)


def next_invoice(standing: SoFar, live: Subscription | None) -> tuple[Money, datetime] | None:
    """What the next invoice comes to as things stand, without tax and credits, and when; None on the free plan."""
    if live is None:
        return None
    plan = standing.entitled.plan
    is_due = live.cancel_at is None and (live.interval == Interval.MONTHLY or live.period_end <= standing.ends_at)
    extra = max(0, live.seats - plan.allowances[Allowance.SEATS].quantity)
    fixed = plan.amount(Interval(live.interval)) + extra * plan.seat if is_due else 0
    metered = sum(one.cost.amount for one in standing.allowances if one.allowance is not Allowance.SEATS)
    return Money(fixed + metered, plan.currency), standing.ends_at


def _cost(used: int, included: Included, currency: str) -> Money:
    above = max(0, used - included.quantity)
    return Money(round_line(times(included.overage or Decimal(0), above))[0], currency)
