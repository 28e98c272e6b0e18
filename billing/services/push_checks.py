"""Compares what Stripe's meters hold with what was pushed, and that with what was used; a difference is an alarm.

Called outside any scope: Stripe is asked.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, QuerySet, Sum
from django.utils import timezone

from billing.metering.hours import hour_of
from billing.metering.meters import COUNTERS
from billing.metering.models import UsageHour
from billing.models import BillingAccount, MeterPush, Source, Subscription
from billing.plans import ALLOWANCE_METERS, Allowance
from billing.selectors.agreements import GIVING
from billing.stripe_client import StripeRefused, StripeUnavailable, client
from tenancy.scope import scope, unscoped

LOOKED_AT = timedelta(days=3)
SETTLED = timedelta(hours=2)  # what is younger may still be on its way
log = logging.getLogger("billing")


@dataclass(frozen=True, slots=True)
class Difference:
    """Units of an allowance over the days looked at: they should be one number three times."""

    allowance: Allowance
    used: int
    pushed: int
    at_stripe: int


def differences(*, organization_id: UUID, now: datetime | None = None) -> list[Difference]:
    """What does not agree for an organization over the last three days. Raises StripeUnavailable or StripeRefused."""
    end = hour_of(now or timezone.now()) - SETTLED
    with scope(organization_id):
        row = Subscription.objects.filter(source=Source.STRIPE, status__in=GIVING).first()
        account = BillingAccount.objects.first()
        if row is None or account is None or not account.stripe_customer_id:
            return []
        begun = hour_of(row.created_at) + timedelta(hours=1)
        start = max(end - LOOKED_AT, begun)
        sold = sorted({price.allowance for price in row.plan.prices if price.allowance is not None})
        counted = [one for one in sold if ALLOWANCE_METERS[one] <= COUNTERS]
        ours = {one: _ours(one, start, end) for one in counted}
    if start >= end:
        return []
    ids = {meter["event_name"]: meter["id"] for meter in client().meters()}
    found = []
    for allowance, (used, pushed) in ours.items():
        there = client().usage_sum(
            meter_id=ids[allowance.value], customer=account.stripe_customer_id, start=start, end=end
        )
        if not used == pushed == there:
            found.append(Difference(allowance, used, pushed, there))
    return found


def _ours(allowance: Allowance, start: datetime, end: datetime) -> tuple[int, int]:
    """What was used, and what of it is known to have arrived."""
    where = {
        "meter__in": [meter.value for meter in ALLOWANCE_METERS[allowance]],
        "hour__gte": start,
        "hour__lt": end,
    }
    used = UsageHour.objects.filter(**where).aggregate(total=Sum("quantity"))["total"]
    arrived: QuerySet[MeterPush] = MeterPush.objects.filter(**where, delivered_at__isnull=False)
    pushed = arrived.aggregate(total=Sum(F("end") - F("start")))["total"]
    return used or 0, pushed or 0


def check_all() -> int:
    """Look at every organization whose usage Stripe bills; how many differences there are, each logged as an error."""
    with unscoped(reason="find organizations whose usage Stripe bills") as wide:
        organizations = [row["organization_id"] for row in wide.rows("billing_run_by_stripe")]
    count = 0
    for organization_id in organizations:
        try:
            found = differences(organization_id=organization_id)
        except (StripeUnavailable, StripeRefused) as error:
            log.warning("billing.pushes_not_checked organization=%s reason=%s", organization_id, error)
            continue
        for one in found:
            log.error(
                "billing.pushes_differ organization=%s allowance=%s used=%d pushed=%d stripe=%d",
                *(organization_id, one.allowance, one.used, one.pushed, one.at_stripe),
            )
        count += len(found)
    return count
