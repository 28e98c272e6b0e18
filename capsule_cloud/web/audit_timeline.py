"""Counts a search of the audit log by time and by kind, for its picture."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Unpack

from django.utils import timezone

from capsule_cloud.web.chart import Chart, Unit, short_number, stacked
from tenancy.audit import selectors
from tenancy.audit.actions import CATALOGUE
from tenancy.audit.catalogue.action import Kind
from tenancy.audit.filters import Wanted

SPAN = timedelta(days=30)  # that is shown where no beginning was chosen
MOST_HOURS, MOST_DAYS = 72, 120  # columns of these grains
LONGEST = timedelta(days=3653)
EVENTS = Unit("Events", "{:,}".format, short_number)
REFUSED, OTHER = "refused", "other"
NAMES = {"created": "Created", "changed": "Changed", "deleted": "Deleted", "read": "Read", "access": "Access"}
NAMES |= {REFUSED: "Refused", OTHER: "Other"}
_KINDS = {
    Kind.CREATE: "created",
    Kind.API_CREATE: "created",
    Kind.UPDATE: "changed",
    Kind.API_UPDATE: "changed",
    Kind.DELETE: "deleted",
    Kind.API_DELETE: "deleted",
    Kind.READ: "read",
    Kind.API_READ: "read",
    Kind.ACCOUNT_CHANGED: "access",
    Kind.SIGN_IN: "access",
    Kind.GRANT: "access",
    Kind.REVOKE: "access",
    Kind.JOIN: "access",
    Kind.LEAVE: "access",
}


@dataclass(frozen=True, slots=True)
class Timeline:
    """A chart, the time from and until which each of its columns is, and since when it counts if not all fits."""

    chart: Chart
    spans: list[tuple[datetime, datetime]]
    counted_since: datetime | None


def timeline(*, since: datetime | None, until: datetime | None, **wanted: Unpack[Wanted]) -> Timeline:
    """The events that fit, by hour, day or month as the time between `since` and `until` allows; UTC."""
    end = until or timezone.now()
    start = max(since or end - SPAN, end - LONGEST)
    counted = selectors.counts(since=start, until=end, **wanted)
    grain, spans = _spans(max(start, counted.since) if counted.since else start, end)
    moments = [first for first, _ in spans]
    usage = [(_floor(hour, grain), kind_of(action), number) for hour, action, number in counted.rows]
    return Timeline(stacked(usage, names=NAMES, moments=moments, grain=grain, unit=EVENTS), spans, counted.since)


def kind_of(action: str) -> str:
    """The series of an action's events."""
    known = CATALOGUE.get(action)
    if known is None:
        return OTHER
    return REFUSED if known.is_failure else _KINDS.get(known.kind, OTHER)


def _spans(start: datetime, end: datetime) -> tuple[str, list[tuple[datetime, datetime]]]:
    length = end - start
    if length <= timedelta(hours=MOST_HOURS):
        grain = "hour"
    elif length <= timedelta(days=MOST_DAYS):
        grain = "day"
    else:
        grain = "month"
    first = _floor(start, grain)
    starts = [first, *_later(first, end, grain)]
    return grain, [(one, _next(one, grain)) for one in starts]


def _later(first: datetime, end: datetime, grain: str) -> Iterator[datetime]:
    moment = _next(first, grain)
    while moment < end:
        yield moment
        moment = _next(moment, grain)


def _floor(moment: datetime, grain: str) -> datetime:
    hour = moment.replace(minute=0, second=0, microsecond=0)
    if grain == "hour":
        return hour
    return hour.replace(hour=0) if grain == "day" else hour.replace(hour=0, day=1)


def _next(moment: datetime, grain: str) -> datetime:
    if grain == "hour":
        return moment + timedelta(hours=1)
    if grain == "day":
        return moment + timedelta(days=1)
    return (moment + timedelta(days=32)).replace(day=1)
