"""Reads the usage of the organization in scope: hourly sums, plus events that are not in them yet."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from billing.metering import ids
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
    """
    # whole hours on both sides, or an hour would count differently before and after its roll-up
    since = _hour(since)
    until = _hour(until + ALMOST_AN_HOUR)
    names = list(dict.fromkeys(group_by))
    columns = [GROUPS[name] for name in names]
    params: dict[str, Any] = {"organization": current_organization_id(), "since": since, "until": until}
    where = ["hour >= %(since)s", "hour < %(until)s"]
    for column, value in (("project_id", project_id), ("key_id", key_id), ("meter", meter), ("end_user", end_user)):
        if value:
            where.append(f"{column} = %({column})s")
            params[column] = value
    source = SUMS
    if end_user or "end_user" in names:
        source, params["first"] = EVENTS, ids.first(since - SLACK)
    selected = ", ".join([f"date_trunc('{GRAINS[grain]}', hour, 'UTC')", *columns])
    groups = ", ".join(str(n + 1) for n in range(len(columns) + 1))
    query = f"""
        SELECT {selected}, sum(quantity)::bigint FROM ({source}) AS every WHERE {" AND ".join(where)}
        GROUP BY {groups} ORDER BY {groups} LIMIT {MOST_POINTS + 1}
    """  # noqa: S608  # every interpolated word comes from the tables above
    as_of = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        points = [UsagePoint(row[0], dict(zip(names, row[1:-1], strict=True)), row[-1]) for row in cursor.fetchall()]
    if len(points) > MOST_POINTS:
        raise TooManyPoints(f"The answer has more than {MOST_POINTS} points.")
    return Usage(points, as_of)


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def last_days(days: int = 30, *, project_id: UUID | None = None) -> Usage:
    """Daily sums by meter for the chart of the home page, today included."""
    now = timezone.now()
    first = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)
    return usage(since=first, until=now + timedelta(hours=1), project_id=project_id)
