"""Simulates a price: what every organization would have paid for last month's use on a plan, beside what it pays now.

Priced by the very lines of an invoice (billing/invoicing/pricing.py); commits, credits and taxes are left out. What
customers would do about a cap is too: on a plan that sells no more, what is above it costs nothing and is told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from billing.invoicing.pricing import charges
from billing.invoicing.terms import Terms
from billing.invoicing.usage import measured
from billing.money import Money, month_after
from billing.periods import Period
from billing.plans import Allowance, Included, Plan
from billing.selectors.agreements import agreement
from billing.selectors.entitlements import effective
from tenancy.models import Membership
from tenancy.scope import scope, unscoped
from tenancy.selectors import organization

PAGE = 500
MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Simulated:
    """An organization's month as it is, and on the other plan. `above` names the caps it would pass."""

    slug: str
    plan: str
    now: Money
    then: Money
    above: tuple[Allowance, ...]


def last_month(now: datetime | None = None) -> Period:
    """The calendar month in UTC before the one that runs."""
    first = (now or timezone.now()).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return month_after(first, -1), first


def simulate(plan: Plan, period: Period) -> Iterator[Simulated]:
    """Every organization that is open, one after the other, in a scope of its own."""
    for organization_id in _organizations():
        with scope(organization_id):
            yield _simulated(plan, period)


def _organizations() -> Iterator[UUID]:
    after = UUID(int=0)
    while True:
        with unscoped(reason="simulate a price for everybody") as wide:
            rows = wide.rows("billing_open_organizations", after, PAGE)
        yield from (row["organization_id"] for row in rows)
        if len(rows) < PAGE:
            return
        after = rows[-1]["organization_id"]


def _simulated(plan: Plan, period: Period) -> Simulated:
    last = period[1] - MOMENT
    agreed = agreement(last)
    used = {**measured(period).allowances, Allowance.SEATS: Membership.objects.count()}
    return Simulated(
        slug=organization().slug,
        plan=f"{agreed.plan.key} v{agreed.plan.version}",
        now=_price(agreed.plan, effective(now=last).allowances, used, period),
        then=_price(plan, plan.allowances, used, period),
        above=tuple(
            one for one, of in plan.allowances.items() if of.overage is None and used.get(one, 0) > of.quantity
        ),
    )


def _price(
    plan: Plan, allowances: Mapping[Allowance, Included], used: Mapping[Allowance, int], period: Period
) -> Money:
    terms = Terms(plan.key, plan.version, plan.currency, fee=plan.monthly, seats=0, allowances=allowances)
    return Money(sum(line.whole for line in charges(terms, used, period[0])), plan.currency)
