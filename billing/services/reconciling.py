"""Compares, every night, what was used in all the places that say it: events, hours, closed periods, Stripe's meters.

Called outside any scope: Stripe is asked.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

from django.db.models import F, Sum
from django.utils import timezone

from billing.metering import ids
from billing.metering.hours import hour_of
from billing.metering.meters import COUNTERS
from billing.metering.models import UsageEvent, UsageHour
from billing.metering.selectors import SLACK, totals
from billing.metering.services.periods import recounted
from billing.metering.services.sums import differences
from billing.models import BillingAccount, MeterPush, Source, Subscription
from billing.plans import ALLOWANCE_METERS, Allowance
from billing.selectors.agreements import GIVING
from billing.stripe_client import StripeRefused, StripeUnavailable, client
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Target, record
from tenancy.scope import scope, unscoped

LOOKED_BACK = timedelta(days=3)
SETTLED = timedelta(hours=2)  # what is younger may still be on its way to Stripe
HOUR = timedelta(hours=1)
log = logging.getLogger("billing")


@dataclass(frozen=True, slots=True)
class Difference:
    """What should be one number, and is not: what a meter of ours or of Stripe's came to from `since` to `until`.

    `events` are the raw ones, `hours` their sums, `period` what a closed period says, `pushed` what Stripe has
    confirmed, `stripe` what it holds. None: there is no such figure.
    """

    organization_id: UUID
    meter: str
    since: datetime
    until: datetime
    events: int
    hours: int
    period: int | None = None
    pushed: int | None = None
    stripe: int | None = None


def reconcile(*, now: datetime | None = None) -> list[Difference]:
    """Compare the last three days of every organization, and the periods that were closed in them.

    Each difference is one alert: an error in the log, `usage.differs`, and an event in the organization's trail.
    """
    end = hour_of(now or timezone.now()) + HOUR
    found = [*_wrong_hours(end), *_wrong_periods(end), *_wrong_pushes(end)]
    for one in found:
        log.error(
            "usage.differs organization=%s meter=%s since=%s until=%s events=%s hours=%s period=%s pushed=%s stripe=%s",
            *(one.organization_id, one.meter, one.since.isoformat(), one.until.isoformat()),
            *("-" if figure is None else figure for figure in _figures(one)),
        )
        with scope(one.organization_id):
            record(
                action=actions.USAGE_DIFFERENCE_FOUND,
                actor=SYSTEM,
                target=Target("organization", str(one.organization_id), ""),
                metadata=asdict(one) | {"organization_id": str(one.organization_id)} | _times(one),
            )
    return found


def _figures(one: Difference) -> tuple[int | None, ...]:
    return one.events, one.hours, one.period, one.pushed, one.stripe


def _times(one: Difference) -> dict[str, str]:
    return {"since": one.since.isoformat(), "until": one.until.isoformat()}


def _wrong_hours(end: datetime) -> Iterator[Difference]:
    """By organization and meter, the hours that are not what their events come to; in one statement."""
    rows = sorted(differences(end - LOOKED_BACK, end), key=lambda row: (row.organization_id, row.meter, row.hour))
    for (organization_id, meter), group in groupby(rows, key=lambda row: (row.organization_id, row.meter)):
        found = list(group)
        since, until = found[0].hour, found[-1].hour + HOUR
        with scope(organization_id):
            yield Difference(
                organization_id,
                meter,
                since,
                until,
                events=sum(row.event_quantity for row in found),
                hours=sum(row.hour_quantity for row in found),
                pushed=_pushed([meter], since, until),
            )


def _wrong_periods(end: datetime) -> Iterator[Difference]:
    """The newly closed periods that the events of their time deny, in the sight of their watermarks."""
    with unscoped(reason="find the periods that were closed since the last nights") as wide:
        closed = [row["period_id"] for row in wide.rows("metering_periods_closed_since", end - LOOKED_BACK)]
    for one in recounted(closed):
        if one.is_right:
            continue
        with scope(one.organization_id):
            now = totals(hour_of(one.starts_at), hour_of(one.ends_at)).meters
            summed = {meter.value: quantity for meter, quantity in now.items()}
        said = {meter: of["quantity"] for meter, of in one.totals.items()}
        counted = {meter: of["quantity"] for meter, of in one.counted_totals.items()}
        # where all meters agree, it is the events' hours, projects or keys that are not what they were
        wrong = [meter for meter in sorted(said | counted) if said.get(meter) != counted.get(meter)]
        for meter in wrong or sorted(said):
            yield Difference(
                one.organization_id,
                meter,
                one.starts_at,
                one.ends_at,
                events=counted.get(meter, 0),
                hours=summed.get(meter, 0),
                period=said.get(meter, 0),
            )


def _wrong_pushes(end: datetime) -> Iterator[Difference]:
    """Where Stripe's meters, or what they have confirmed, are not what was used."""
    with unscoped(reason="find organizations whose usage Stripe bills") as wide:
        organizations = [row["organization_id"] for row in wide.rows("billing_run_by_stripe")]
    for organization_id in organizations:
        try:
            yield from _compared(organization_id, end - HOUR - SETTLED)
        except (StripeUnavailable, StripeRefused) as error:
            log.warning("billing.pushes_not_checked organization=%s reason=%s", organization_id, error)


def _compared(organization_id: UUID, end: datetime) -> Iterator[Difference]:
    with scope(organization_id):
        row = Subscription.objects.filter(source=Source.STRIPE, status__in=GIVING).first()
        account = BillingAccount.objects.first()
        if row is None or account is None or not account.stripe_customer_id:
            return
        start = max(end - LOOKED_BACK, hour_of(row.created_at) + HOUR)
        sold = sorted({price.allowance for price in row.plan.prices if price.allowance is not None})
        counted = [one for one in sold if ALLOWANCE_METERS[one] <= COUNTERS]
        ours = {one: (_summed(one, start, end), _pushed(ALLOWANCE_METERS[one], start, end)) for one in counted}
    if start >= end:
        return
    meters = {meter["event_name"]: meter["id"] for meter in client().meters()}
    for allowance, (hours, pushed) in ours.items():
        there = client().usage_sum(
            meter_id=meters[allowance.value], customer=account.stripe_customer_id, start=start, end=end
        )
        if not hours == pushed == there:
            with scope(organization_id):
                events = _counted(allowance, start, end)
            yield Difference(organization_id, allowance.value, start, end, events, hours, pushed=pushed, stripe=there)


def _summed(allowance: Allowance, start: datetime, end: datetime) -> int:
    hours = UsageHour.objects.filter(meter__in=ALLOWANCE_METERS[allowance], hour__gte=start, hour__lt=end)
    return hours.aggregate(total=Sum("quantity"))["total"] or 0


def _counted(allowance: Allowance, start: datetime, end: datetime) -> int:
    events = UsageEvent.objects.filter(
        pk__gte=ids.first(start - SLACK),
        meter__in=ALLOWANCE_METERS[allowance],
        occurred_at__gte=start,
        occurred_at__lt=end,
    )
    return events.aggregate(total=Sum("quantity"))["total"] or 0


def _pushed(meters: Iterable[str], start: datetime, end: datetime) -> int:
    """What is known to have arrived at Stripe."""
    arrived = MeterPush.objects.filter(meter__in=meters, hour__gte=start, hour__lt=end, delivered_at__isnull=False)
    return arrived.aggregate(total=Sum(F("end") - F("start")))["total"] or 0
