"""Reads what the organization in scope has agreed to: a subscription, a contract, or else the free plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.invoicing.selectors.contracts import agreed_plan, contract_at, months_of
from billing.models.accounts import BillingAccount, SeatPolicy
from billing.models.subscriptions import Interval, Source, Status, Subscription
from billing.money import month_after
from billing.plans import FREE, Allowance, Feature, Included, Plan, current, plan

MOST_SEATS = 10_000  # where seats are counted afterwards, nobody is kept from adding people
# Overdue is a matter of access, not of the plan; what was never paid, or is paused, gives none
GIVING = (Status.TRIALING, Status.ACTIVE, Status.PAST_DUE, Status.UNPAID)
Period = tuple[datetime, datetime]
MOMENT = timedelta(microseconds=1)


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
    """What holds for the organization in scope at `now`."""
    subscription = Subscription.objects.filter(status__in=GIVING).order_by("-created_at").first()
    contract = contract_at(now) if subscription and subscription.source == Source.CONTRACT else None
    if subscription is None or (subscription.source == Source.CONTRACT and contract is None):
        return _on(current(FREE), source=FREE, seats=0, period=None)
    if contract is not None:
        period = months_of(contract, now + MOMENT)[-1]
        return _on(agreed_plan(contract), source=subscription.source, seats=subscription.seats, period=period)
    return _on(
        plan(subscription.plan_key, subscription.plan_version),
        source=subscription.source,
        seats=subscription.seats,
        period=usage_period(subscription, now),
    )


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
