"""Says what an agreement was when a period ended, and in each part of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from billing.invoicing.models import Agreed, Contract
from billing.invoicing.parts import Held, Months, Span, is_plain, parts_of
from billing.invoicing.selectors.contracts import agreed_plan
from billing.invoicing.terms import Part
from billing.models import Interval, Source, Subscription
from billing.overrides import applied_to_allowances, priced
from billing.plans import Plan, plan


def held_in(
    period: Span,
    subscription: Subscription,
    contract: Contract | None,
    agreed: Sequence[Agreed],
    granted: Mapping[str, Any],
) -> tuple[Held, tuple[Part, ...]]:
    """What held when a period ended, and its parts: none where it is one whole month, or Stripe or a year bills it.

    `agreed` is every row of the subscription, the oldest first. It asks no database.
    """

    def planned(key: str, version: int) -> Plan:
        return priced(agreed_plan(contract) if contract else plan(key, version), granted)

    now = Held(subscription.period_start, planned(subscription.plan_key, subscription.plan_version), subscription.seats)
    if subscription.source == Source.STRIPE:
        return now, ()
    known = [Held(one.since, planned(one.plan_key, one.plan_version), one.seats) for one in agreed]
    until = None if contract else subscription.period_end
    found = parts_of(
        period,
        known or [now],
        months=Months(subscription.period_start, until),
        allowances=lambda one: applied_to_allowances(one.allowances, granted),
    )
    last = next((one for one in reversed(known) if one.since < period[1]), now)
    return last, () if is_plain(found) or subscription.interval == Interval.YEARLY else found
