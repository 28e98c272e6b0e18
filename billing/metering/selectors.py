"""Reads the usage of the organization in scope: hourly sums, plus events that are not in them yet."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from billing.metering import ids
from billing.metering.hours import hour_of
from billing.metering.meters import GAUGES, Meter
from billing.metering.models import UsageEvent
from tenancy.scope import current_organization_id

GRAINS = {"hour": "hour", "day": "day", "month": "month"}
GROUPS = {"meter": "meter", "project": "project_id", "key": "key_id", "end_user": "end_user"}
MOST_POINTS = 50_000
ALMOST_AN_HOUR = timedelta(hours=1) - timedelta(microseconds=1)
# An id may be a little older than its event by another machine's clock; it may be any time younger.
SLACK = timedelta(days=1)
SUMS = """
    SELECT hour, project_id, key_id, meter, quantity FROM metering_usagehour WHERE organization_id = %(organization)s
    UNION ALL SELECT hour, project_id, key_id, meter, quantity FROM metering_pending()
"""
EVENTS = """
    SELECT date_trunc('hour', occurred_at, 'UTC') AS hour, project_id, key_id, meter, end_user, quantity
    FROM metering_usageevent WHERE organization_id = %(organization)s AND id >= %(first)s
"""


MOST_EVENTS = 1_000  # a page
# Samples of one hour are of different projects, and add up; those of different hours do not.
COMBINED = {
    Meter.STORED_BYTES: "floor(avg(quantity))::bigint",
    Meter.END_USER: "max(quantity)::bigint",
    Meter.SEAT: "max(quantity)::bigint",
}


class TooManyPoints(Exception):
    """The answer has more than MOST_POINTS points: ask for a shorter time, a coarser grain or fewer groups."""


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """The sum of one group over one UTC hour, day or month."""

    at: datetime
    group: dict[str, Any]
    quantity: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Points in time order, as read at `as_of`: reads spooled in the last few seconds may be missing."""

    points: list[UsagePoint]
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Totals:
    """One number for each meter that has any, as read at `as_of`."""

    meters: dict[Meter, int]
    as_of: datetime


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events by id, as read at `as_of`; `after` asks for the next page, None where there is none."""

    events: list[UsageEvent]
    after: UUID | None
    as_of: datetime


def usage(
    *,
    since: datetime,
    until: datetime,
    grain: str = "day",
    group_by: Iterable[str] = ("meter",),
    project_id: UUID | None = None,
    key_id: UUID | None = None,
    meter: str = "",
    end_user: str = "",
) -> Usage:
    """Sums over every UTC hour that begins in or reaches into the time from `since` to `until` (exclusive).

    `grain` is of GRAINS, `group_by` of GROUPS. Raises KeyError for any other grain or group, and TooManyPoints. The
    sums know no end users: grouped or filtered by them, every event of the time is read.

    A gauge is left out unless `meter` names it: of stored bytes a point is then the average of the daily samples, of
    end users and seats the highest.
    """
    # whole hours on both sides, or an hour would count differently before and after its roll-up
    since = hour_of(since)
    until = hour_of(until + ALMOST_AN_HOUR)
    names = list(dict.fromkeys(group_by))
    columns = [GROUPS[name] for name in names]
    params: dict[str, Any] = {"organization": current_organization_id(), "since": since, "until": until}
    params["gauges"] = [gauge.value for gauge in GAUGES]
    where = ["hour >= %(since)s", "hour < %(until)s", *([] if meter else ["meter <> ALL(%(gauges)s)"])]
    for column, value in (("project_id", project_id), ("key_id", key_id), ("meter", meter), ("end_user", end_user)):
        if value:
            where.append(f"{column} = %({column})s")
            params[column] = value
    source = SUMS
    if end_user or "end_user" in names:
        source, params["first"] = EVENTS, ids.first(since - SLACK)
    selected = ", ".join([f"date_trunc('{GRAINS[grain]}', hour, 'UTC')", *columns])
    groups = ", ".join(str(n + 1) for n in range(len(columns) + 1))
    source = f"SELECT * FROM ({source}) AS every WHERE {' AND '.join(where)}"  # noqa: S608  # see below
    combined = "sum(quantity)::bigint"
    if meter in GAUGES:
        combined = COMBINED[Meter(meter)]
        by_hour = ", ".join(["hour", *columns])
        source = f"SELECT {by_hour}, sum(quantity) AS quantity FROM ({source}) AS wanted GROUP BY {by_hour}"  # noqa: S608
    query = f"""
        SELECT {selected}, {combined} FROM ({source}) AS every
        GROUP BY {groups} ORDER BY {groups} LIMIT {MOST_POINTS + 1}
    """  # noqa: S608  # every interpolated word comes from the tables above
    as_of = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        points = [UsagePoint(row[0], dict(zip(names, row[1:-1], strict=True)), row[-1]) for row in cursor.fetchall()]
    if len(points) > MOST_POINTS:
        raise TooManyPoints(f"The answer has more than {MOST_POINTS} points.")
    return Usage(points, as_of)


def totals(since: datetime, until: datetime) -> Totals:
    """What each meter comes to over the whole UTC hours that begin from `since` to `until` (exclusive).

    Counters are summed. Stored bytes are the average of the daily samples: times the hours between, they are
    byte-hours. End users and seats are the highest sample.
    """
    query = f"""
        SELECT meter, CASE meter
            {" ".join(f"WHEN '{meter.value}' THEN {combined}" for meter, combined in COMBINED.items())}
            ELSE sum(quantity)::bigint END
        FROM (
            SELECT meter, hour, sum(quantity) AS quantity FROM ({SUMS}) AS every
            WHERE hour >= %(since)s AND hour < %(until)s GROUP BY meter, hour
        ) AS hours GROUP BY meter ORDER BY meter
    """  # noqa: S608  # every interpolated word is ours
    as_of = timezone.now()
    params: dict[str, Any] = {"organization": current_organization_id(), "since": since, "until": until}
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return Totals({Meter(meter): quantity for meter, quantity in cursor.fetchall() if meter in Meter}, as_of)


def events(
    *,
    since: datetime,
    until: datetime,
    project_id: UUID | None = None,
    key_id: UUID | None = None,
    meter: str = "",
    end_user: str = "",
    after: UUID | None = None,
    limit: int = MOST_EVENTS,
) -> EventPage:
    """The raw events that occurred from `since` to `until` (exclusive), by id, at most MOST_EVENTS of them."""
    as_of = timezone.now()
    limit = min(limit, MOST_EVENTS)
    wanted = UsageEvent.objects.filter(pk__gte=ids.first(since - SLACK), occurred_at__gte=since, occurred_at__lt=until)
    for name, value in (("project_id", project_id), ("key_id", key_id), ("meter", meter), ("end_user", end_user)):
        if value:
            wanted = wanted.filter(**{name: value})
    if after:
        wanted = wanted.filter(pk__gt=after)
    found = list(wanted.order_by("pk")[: limit + 1])
    page = found[:limit]
    return EventPage(page, page[-1].pk if len(found) > limit else None, as_of)


def last_days(days: int = 30, *, project_id: UUID | None = None) -> Usage:
    """Daily sums by meter for the chart of the home page, today included."""
    now = timezone.now()
    first = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)
    return usage(since=first, until=now + timedelta(hours=1), project_id=project_id)
