"""Reads what the organization in scope may use and has used: periods, caps, and sums of usage events."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, Min
from django.utils import timezone

from billing.metering.meters import GAUGES
from billing.metering.selectors import usage
from billing.plans import ALLOWANCE_METERS, LIMIT_COLUMNS, Allowance
from billing.quotas.models import Cap, Level, Notice, ParkedTotal, ParkedWrite, Span, Watch
from tenancy.models import ApiKey, Organization, Project
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


def stamp() -> tuple[Any, ...]:
    """What changes with the limits of the organization in scope: the same that comes with every key."""
    columns = "operation_limit", "end_user_limit", "period_end", "caps_version"
    found: tuple[Any, ...] = Organization.objects.values_list(*columns).get()
    return found


def caps() -> list[Cap]:
    """The caps that the customer chose, the widest first."""
    return list(Cap.objects.order_by("allowance", "level", "subject_id", "span"))


def limits_on(allowance: Allowance, subject_id: UUID, span: str) -> int:
    """How many limits hold on the same counter: the plan's and the customer's, at most."""
    caps_on = Cap.objects.filter(allowance=allowance, subject_id=subject_id, span=span).count()
    is_plans = subject_id == current_organization_id() and span == Span.PERIOD and plan_limit(allowance) is not None
    return caps_on + is_plans


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


def label(level: str, subject_id: UUID) -> str | None:
    """What a cap's subject is called; None when it is not the organization's, or not there any more."""
    if level == Level.ORGANIZATION:
        return Organization.objects.filter(pk=subject_id).values_list("name", flat=True).first()
    if level == Level.PROJECT:
        live = Project.objects.filter(pk=subject_id, archived_at=None)
        return live.values_list("name", flat=True).first()
    key = ApiKey.objects.filter(pk=subject_id, revoked_at=None).first()
    return None if key is None else f"{key.name} ({key.hint}…)"


def notices(*, limit: int = 20, with_dismissed: bool = False) -> list[Notice]:
    """What was said to the customer, newest first; without `with_dismissed` only what nobody has put away."""
    said = Notice.objects.order_by("-said_at", "-id")
    return list((said if with_dismissed else said.filter(dismissed_at=None))[:limit])


@dataclass(frozen=True, slots=True)
class Parked:
    """How many writes wait, could not be applied, or were; since when the oldest waits; and what is kept of them.

    `writes` and `bytes` are of those that wait or could not be applied: what `parking` limits.
    """

    waiting: int
    failed: int
    applied: int
    oldest_at: datetime | None
    writes: int
    bytes: int


def parked() -> Parked:
    """The parked writes of the organization, counted."""
    found = {state: (count, oldest) for state, count, oldest in _parked_by_state()}
    waiting, oldest = found.get(ParkedWrite.State.PARKED, (0, None))
    failed, _ = found.get(ParkedWrite.State.FAILED, (0, None))
    applied, _ = found.get(ParkedWrite.State.APPLIED, (0, None))
    total = ParkedTotal.objects.first() or ParkedTotal()
    return Parked(waiting, failed, applied, oldest, total.writes, total.bytes)


def _parked_by_state() -> Any:
    return ParkedWrite.objects.values_list("state").annotate(count=Count("id"), oldest=Min("parked_at"))


def parked_writes(*, state: str = "", after: int = 0, limit: int = 100) -> list[ParkedWrite]:
    """Parked writes in their order, without their content; `after` is the `number` of the last one seen."""
    writes = ParkedWrite.objects.filter(number__gt=after).order_by("number").defer("sealed_body")
    return list((writes.filter(state=state) if state else writes)[:limit])
