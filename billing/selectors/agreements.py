"""Reads what the organization in scope has agreed to: a subscription, a contract, or else the free plan."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from billing.invoicing.models import Contract
from billing.invoicing.selectors.contracts import agreed_plan, contract_at
from billing.metering.models import UsagePeriod
from billing.models.accounts import BillingAccount, SeatPolicy
from billing.models.subscriptions import Interval, Source, Status, Subscription
from billing.money import month_after
from billing.periods import Period, Stretch, month_of, periods_after
from billing.plans import FREE, Allowance, Feature, Included, Plan, current, plan
from tenancy.models import Organization

MOST_SEATS = 10_000  # where seats are counted afterwards, nobody is kept from adding people
# Overdue is a matter of access, not of the plan; what was never paid, or is paused, gives none
GIVING = (Status.TRIALING, Status.ACTIVE, Status.PAST_DUE, Status.UNPAID)
NEVER_BEGUN = (Status.INCOMPLETE, Status.INCOMPLETE_EXPIRED)
Agreed = tuple[Subscription | None, Contract | None]


@dataclass(frozen=True, slots=True)
class Agreement:
    """The version of a plan that an organization is on, and what was agreed beside it."""

    plan: Plan
    source: str  # free, stripe, contract or manual
    allowances: Mapping[Allowance, Included]
    features: frozenset[Feature]
    seats: int  # people who may be members
    period: Period | None  # what usage is counted in; None: the calendar month in UTC


def agreement(now: datetime) -> Agreement:
    """What holds for the organization in scope at its own time `now`; use is counted by the real clock."""
    subscription = Subscription.objects.filter(status__in=GIVING).order_by("-created_at").first()
    contract = contract_at(now) if subscription and subscription.source == Source.CONTRACT else None
    moment = now - Organization.objects.get().clock_ahead
    period: Period | None = period_at(moment)
    if subscription is None or (subscription.source == Source.CONTRACT and contract is None):
        return _on(current(FREE), source=FREE, seats=0, period=None if period == month_of(moment) else period)
    agreed = agreed_plan(contract) if contract else plan(subscription.plan_key, subscription.plan_version)
    return _on(agreed, source=subscription.source, seats=subscription.seats, period=period)


def _on(agreed: Plan, *, source: str, seats: int, period: Period | None) -> Agreement:
    included = agreed.allowances[Allowance.SEATS].quantity
    account = BillingAccount.objects.first() if agreed.seat else None
    counts_later = account is not None and account.seat_policy != SeatPolicy.NAMED
    return Agreement(
        plan=agreed,
        source=source,
        allowances=agreed.allowances,
        features=agreed.features,
        seats=MOST_SEATS if counts_later else max(included, seats),
        period=period,
    )


def period_at(moment: datetime) -> Period:
    """The period of the organization in scope that a moment is in, of its one sequence (billing/periods.py)."""
    kept = UsagePeriod.objects.filter(ends_at__gt=moment).order_by("ends_at").first()
    if kept is not None:
        return (kept.starts_at, kept.ends_at) if kept.starts_at <= moment else month_of(moment)
    newest = UsagePeriod.objects.order_by("-ends_at").first()
    known = stretches(list(Subscription.objects.exclude(status__in=NEVER_BEGUN)), list(Contract.objects.all()))
    since = newest.ends_at if newest else beginning(Organization.objects.get().created_at, known)
    if moment < since:
        return month_of(moment)
    return next(period for period, _ in periods_after(since, known) if moment < period[1])


def beginning(created_at: datetime, known: Iterable[Stretch[Agreed]]) -> datetime:
    """Where an organization's first period begins: with its first month, or with an agreement that is older."""
    return min([month_of(created_at)[0], *(stretch.starts_at for stretch in known)])


def stretches(subscriptions: Sequence[Subscription], contracts: Sequence[Contract]) -> list[Stretch[Agreed]]:
    """The times under each agreement; a contract takes over from a subscription that ends later.

    A contract without a subscription has not begun yet, and has its time all the same.
    """
    rows: dict[UUID | None, Subscription] = {row.pk: row for row in subscriptions}
    begins = sorted(contract.starts_at for contract in contracts)
    signed: list[Stretch[Agreed]] = [
        Stretch((rows.pop(one.subscription_id, None), one), one.starts_at, one.ends_at, one.starts_at)
        for one in contracts
    ]
    return [*signed, *(_stretch(row, begins) for row in rows.values())]


def _stretch(row: Subscription, begins: list[datetime]) -> Stretch[Agreed]:
    start = min(row.created_at, row.period_start)
    ends = [row.ended_at, next((moment for moment in begins if moment > start), None)]
    return Stretch(
        (row, None),
        start,
        min((end for end in ends if end is not None), default=None),
        row.period_start,
        None if row.interval == Interval.YEARLY else row.period_end,
    )


def usage_period(subscription: Subscription, now: datetime) -> Period:
    """The month of a subscription that `now` is in: usage is counted monthly, whatever is paid yearly or by contract.

    A period that should be over goes on month by month, until we hear of the renewal.
    """
    start, end = subscription.period_start, subscription.period_end
    if subscription.interval == Interval.YEARLY or subscription.source == Source.CONTRACT:
        return _month_of(start, now)
    return (start, end) if now < end else _month_of(end, now)


def _month_of(anchor: datetime, now: datetime) -> Period:
    n = max(0, (now.year - anchor.year) * 12 + now.month - anchor.month)
    if month_after(anchor, n) > now:
        n = max(0, n - 1)
    return month_after(anchor, n), month_after(anchor, n + 1)
