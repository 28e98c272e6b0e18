"""Reads which periods of the organization in scope are over, and what each was priced by."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.invoicing.models import Contract, Invoice
from billing.invoicing.selectors.contracts import agreed_plan, months_of, ramp
from billing.invoicing.terms import Terms, step_at
from billing.models import Interval, Source, Status, Subscription
from billing.money import month_after
from billing.overrides import applied_to_allowances
from billing.plans import Allowance, Plan, plan
from billing.selectors.agreements import usage_period
from billing.selectors.entitlements import live_overrides

Period = tuple[datetime, datetime]
NEVER_BEGUN = (Status.INCOMPLETE, Status.INCOMPLETE_EXPIRED)
MOMENT = timedelta(microseconds=1)
MOST_YEARS = 100


@dataclass(frozen=True, slots=True)
class Over:
    """A period that is over, and what it was used under."""

    period: Period
    subscription: Subscription
    contract: Contract | None


def periods_over(now: datetime) -> Iterator[Over]:
    """The periods that are over at `now` and have no invoice, oldest first."""
    newest = Invoice.objects.order_by("-period_end").first()
    closed_until = newest.period_end if newest else None
    contracts = {contract.subscription_id: contract for contract in Contract.objects.all()}
    for subscription in Subscription.objects.exclude(status__in=NEVER_BEGUN).order_by("created_at"):
        contract = contracts.get(subscription.pk)
        for period in _periods(subscription, contract, closed_until, now):
            yield Over(period, subscription, contract)


def _periods(
    subscription: Subscription, contract: Contract | None, closed_until: datetime | None, now: datetime
) -> list[Period]:
    if contract is not None:
        over = [one for one in months_of(contract, now) if one[1] <= now]
        return [one for one in over if closed_until is None or one[0] >= closed_until]
    first = min(subscription.created_at, subscription.period_start)
    begin = first if closed_until is None else max(first, closed_until)
    end = subscription.ended_at or usage_period(subscription, now)[0]
    return _months_between(begin, min(end, now))


def _months_between(begin: datetime, end: datetime) -> list[Period]:
    """Whole months back from `end`, and what is left at the beginning as a shorter one."""
    result: list[Period] = []
    months, until = 0, end
    while until > begin:
        months += 1
        since = max(begin, month_after(end, -months))
        result.append((since, until))
        until = since
    return result[::-1]


def terms_of(over: Over) -> Terms:
    """What a period is priced by: the plan's version, the contract, and what was granted beside it at its end.

    Of a plan that Stripe collects the fixed price and the seats for, use alone is ours to price.
    """
    period, subscription, contract = over.period, over.subscription, over.contract
    agreed = agreed_plan(contract) if contract else plan(subscription.plan_key, subscription.plan_version)
    granted = {one.key: one.value for one in live_overrides(period[1] - MOMENT)}
    allowances = applied_to_allowances(agreed.allowances, granted)
    is_collected_elsewhere = subscription.source == Source.STRIPE
    if is_collected_elsewhere:
        del allowances[Allowance.SEATS]
    return Terms(
        plan_key=agreed.key,
        plan_version=agreed.version,
        currency=agreed.currency,
        fee=0 if is_collected_elsewhere else _fee(subscription, agreed, period),
        seats=0 if is_collected_elsewhere else subscription.seats,
        allowances=allowances,
        step=step_at(period[0], ramp(contract)) if contract else None,
        is_free=subscription.trial_end is not None and subscription.trial_end >= period[1],
    )


def _fee(subscription: Subscription, agreed: Plan, period: Period) -> int:
    """The fixed price: every month, or with the first month of each year."""
    if subscription.interval == Interval.MONTHLY:
        return agreed.monthly
    years = {month_after(subscription.period_start, 12 * year) for year in range(MOST_YEARS)}
    return agreed.yearly if period[0] in years else 0
