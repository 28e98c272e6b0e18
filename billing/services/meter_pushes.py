"""Tells Stripe's meters what was used: each part of an hour once, whoever dies in between.

What has grown is written down first, under an identifier made of what it says; then it is sent, as often as it takes.
Stripe knows an identifier for 24 hours. A push that was sent 20 hours ago and never confirmed is looked up first.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, Sum
from django.utils import timezone

from billing.metering.hours import hour_of
from billing.metering.meters import COUNTERS, Meter
from billing.metering.models import UsageHour
from billing.metering.selectors import totals
from billing.models import BillingAccount, MeterPush, Source, Subscription
from billing.money import month_after
from billing.plans import ALLOWANCE_METERS, Allowance
from billing.selectors.agreements import GIVING
from billing.stripe_client import StripeRefused, StripeUnavailable, client
from tenancy.scope import scope, unscoped
from tenancy.services import organizations

HOUR = timedelta(hours=1)
OLDEST = timedelta(days=34)  # Stripe takes nothing that is older than 35 days
UNSURE_AFTER = timedelta(hours=20)
KNOWN = "duplicate_meter_event"
BATCH = 500
log = logging.getLogger("billing")
ALLOWANCE_OF = {meter: allowance for allowance, meters in ALLOWANCE_METERS.items() for meter in meters}


@dataclass(frozen=True, slots=True)
class _Growth:
    """What a meter has come to in an hour."""

    meter: Meter
    hour: datetime
    quantity: int


def push_all() -> int:
    """Write down and send what every subscriber has used; how many pushes arrived. A failure is logged, tried again."""
    with unscoped(reason="find organizations whose usage Stripe bills") as wide:
        found = [row["organization_id"] for row in wide.rows("billing_run_by_stripe")]
    return sum(push(organization_id=organization_id) for organization_id in found)


def push(*, organization_id: UUID) -> int:
    """The same for one organization."""
    collect(organization_id=organization_id)
    try:
        return deliver(organization_id=organization_id)
    except (StripeUnavailable, StripeRefused) as error:
        log.warning("billing.usage_not_pushed organization=%s reason=%s", organization_id, error)
        return 0


def collect(*, organization_id: UUID, now: datetime | None = None) -> int:
    """Write down what has grown since the last time; how many pushes that makes."""
    now = now or timezone.now()
    with scope(organization_id):
        organizations.locked()  # one at a time: each push begins where the last one ends
        row = Subscription.objects.filter(source=Source.STRIPE, status__in=GIVING).first()
        if row is None:
            return 0
        pushed = {
            (push["meter"], push["hour"]): push["total"]
            for push in MeterPush.objects.filter(hour__gte=now - OLDEST - HOUR)
            .values("meter", "hour")
            .annotate(total=Sum(F("end") - F("start")))
        }
        made = [
            MeterPush(
                organization_id=organization_id,
                meter=one.meter,
                hour=one.hour,
                start=done,
                end=one.quantity,
                identifier=f"{organization_id.hex}:{one.meter}:{one.hour:%Y%m%d%H}:{done}-{one.quantity}",
            )
            for one in _grown(row, now)
            if one.quantity > (done := pushed.get((one.meter.value, one.hour), 0))
        ]
        return len(MeterPush.objects.bulk_create(made))


def _grown(row: Subscription, now: datetime) -> Iterator[_Growth]:
    """Counters by the hour; gauges once, when their month is over.

    An hour that a renewal cuts is of the period that begins in it, as on invoices: it waits until we hear of that.
    """
    sold = {price.allowance for price in row.plan.prices if price.allowance is not None}
    metered = {meter for meter, allowance in ALLOWANCE_OF.items() if allowance in sold}
    since = max(row.created_at, now - OLDEST)
    hours = (
        UsageHour.objects.filter(meter__in=[meter.value for meter in metered & COUNTERS], hour__gte=since)
        .values("meter", "hour")
        .annotate(total=Sum("quantity"))
        .order_by("hour", "meter")
    )
    for hour in hours.exclude(hour=hour_of(row.period_end)):
        yield _Growth(Meter(hour["meter"]), hour["hour"], hour["total"])
    start, end = _month_before(row, now)
    if end > row.created_at and end >= since:
        levels = totals(hour_of(start), hour_of(end)).meters
        last = hour_of(end - HOUR)
        for meter in sorted(metered - COUNTERS):
            if levels.get(meter, 0) > 0:
                yield _Growth(meter, last, levels[meter])


def _month_before(row: Subscription, now: datetime) -> tuple[datetime, datetime]:
    """The month of usage that ended last, counted from where the subscription's period begins."""
    anchor = row.period_start
    n = (now.year - anchor.year) * 12 + now.month - anchor.month
    if month_after(anchor, n) > now:
        n -= 1
    return month_after(anchor, n - 1), month_after(anchor, n)


def deliver(*, organization_id: UUID, now: datetime | None = None) -> int:
    """Send what is written down and not confirmed; how many arrived. Called outside any scope.

    Raises StripeUnavailable or StripeRefused; what was sent until then stays sent.
    """
    now = now or timezone.now()
    with scope(organization_id):
        account = BillingAccount.objects.first()
        row = Subscription.objects.filter(source=Source.STRIPE, status__in=GIVING).first()
        waiting = list(MeterPush.objects.filter(delivered_at=None).order_by("created_at", "id")[:BATCH])
    if account is None or not account.stripe_customer_id:
        return 0
    for push in waiting:
        is_known = push.first_sent_at is not None and now - push.first_sent_at > UNSURE_AFTER
        if not (is_known and _has_arrived(organization_id, account.stripe_customer_id, push)):
            _mark_sent(organization_id, push, now)
            _send(account.stripe_customer_id, push, _moment(push.hour, row))
        with scope(organization_id):
            MeterPush.objects.filter(pk=push.pk).update(delivered_at=now, error="")
    return len(waiting)


def _mark_sent(organization_id: UUID, push: MeterPush, now: datetime) -> None:
    """Before it is sent: who dies after that leaves a push that may have arrived."""
    with scope(organization_id):
        MeterPush.objects.filter(pk=push.pk).update(attempts=F("attempts") + 1, first_sent_at=push.first_sent_at or now)


def _moment(hour: datetime, row: Subscription | None) -> datetime:
    """When Stripe shall think that an hour was: in the period that it is of."""
    return row.period_start if row is not None and hour_of(row.period_start) == hour else hour


def _send(customer: str, push: MeterPush, at: datetime) -> None:
    allowance = ALLOWANCE_OF[Meter(push.meter)]
    try:
        client().report_usage(
            identifier=push.identifier,
            meter=allowance.value,
            customer=customer,
            quantity=push.end - push.start,
            at=at,
        )
    except StripeRefused as refusal:
        if refusal.code != KNOWN and "already exists with identifier" not in str(refusal):
            raise


def _has_arrived(organization_id: UUID, customer: str, push: MeterPush) -> bool:
    """Whether Stripe's sum of the hour holds this push besides those that are known to have arrived."""
    allowance: Allowance = ALLOWANCE_OF[Meter(push.meter)]
    meters = [meter.value for meter in ALLOWANCE_METERS[allowance]]
    with scope(organization_id):
        known = MeterPush.objects.filter(meter__in=meters, hour=push.hour, delivered_at__isnull=False)
        expected = known.aggregate(total=Sum(F("end") - F("start")))["total"] or 0
    ids = {meter["event_name"]: meter["id"] for meter in client().meters()}
    there = client().usage_sum(meter_id=ids[allowance.value], customer=customer, start=push.hour, end=push.hour + HOUR)
    return there >= expected + push.end - push.start
