"""Reads what the organization in scope may use and has used: periods, caps, and sums of usage events."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.utils import timezone

from billing.metering.meters import GAUGES
from billing.metering.selectors import usage
from billing.plans import ALLOWANCE_METERS, LIMIT_COLUMNS, Allowance
from billing.quotas.models import Cap, Level, Span, Watch
from tenancy.models import Organization
from tenancy.scope import current_organization_id

FLOWS = frozenset(one for one, meters in ALLOWANCE_METERS.items() if not meters & GAUGES)


@dataclass(frozen=True, slots=True)
class Period:
    """The time in which an allowance is counted, from `starts_at` to `ends_at` (exclusive)."""

    starts_at: datetime
    ends_at: datetime


def billing_period() -> Period:
    """The billing period under way of the organization in scope; the calendar month in UTC where it has none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM quotas_period(%s)", [current_organization_id()])
        return Period(*cursor.fetchone())


def plan_limit(allowance: Allowance) -> int | None:
    """What the plan allows of it at most in a period; None where more can be bought, or nothing is counted."""
    column = LIMIT_COLUMNS.get(allowance)
    if column is None:
        return None
    limit: int | None = Organization.objects.values_list(column, flat=True).get()
    return limit


def caps() -> list[Cap]:
    """The caps that the customer chose, the widest first."""
    return list(Cap.objects.order_by("allowance", "level", "subject_id", "span"))


def watches() -> dict[Allowance, list[int]]:
    """At which percentages the customer chose to be told, where they chose."""
    return {Allowance(one.allowance): one.percents for one in Watch.objects.all()}


def used(allowance: Allowance, *, level: str, subject_id: UUID, since: datetime) -> int:
    """What the subject's usage events of a counted allowance sum up to, from `since` to now."""
    project_id = subject_id if level == Level.PROJECT else None
    key_id = subject_id if level == Level.KEY else None
    until = timezone.now() + timedelta(hours=1)
    found = usage(since=since, until=until, grain="month", project_id=project_id, key_id=key_id)
    meters = ALLOWANCE_METERS[allowance]
    return sum(point.quantity for point in found.points if point.group["meter"] in meters)


def span_of(span: str) -> Period:
    """The billing period or the day under way."""
    if span == Span.PERIOD:
        return billing_period()
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return Period(today, today + timedelta(days=1))
