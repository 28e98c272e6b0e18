"""Reads the usage of the organization in scope: rolled-up hours, plus events that are not in them yet."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from tenancy.scope import current_organization_id

GRAINS = {"hour": "hour", "day": "day", "month": "month"}
ALMOST_AN_HOUR = timedelta(hours=1) - timedelta(microseconds=1)
GROUPS = {"meter": "meter", "project": "project_id", "key": "key_id"}


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
) -> Usage:
    """Sums over every UTC hour that begins in or reaches into the time from `since` to `until` (exclusive).

    `grain` is of GRAINS, `group_by` of GROUPS. Raises KeyError for any other grain or group.
    """
    # whole hours on both sides, or an hour would count differently before and after its roll-up
    since = _hour(since)
    until = _hour(until + ALMOST_AN_HOUR)
    names = list(dict.fromkeys(group_by))
    columns = [GROUPS[name] for name in names]
    where, params = ["organization_id = %(organization)s"], {"organization": current_organization_id()}
    for column, value in (("project_id", project_id), ("key_id", key_id), ("meter", meter)):
        if value:
            where.append(f"{column} = %({column})s")
            params[column] = value  # type: ignore[assignment]
    condition = " AND ".join(where)
    selected = ", ".join([f"date_trunc('{GRAINS[grain]}', hour, 'UTC')", *columns])
    groups = ", ".join(str(n + 1) for n in range(len(columns) + 1))
    query = f"""
        SELECT {selected}, sum(quantity)::bigint FROM (
            SELECT hour, project_id, key_id, meter, quantity FROM metering_usagehour
            WHERE {condition} AND hour >= %(since)s AND hour < %(until)s
            UNION ALL
            SELECT date_trunc('hour', occurred_at, 'UTC'), project_id, key_id, meter, quantity FROM metering_usageevent
            WHERE {condition} AND NOT is_rolled_up AND occurred_at >= %(since)s AND occurred_at < %(until)s
        ) AS every GROUP BY {groups} ORDER BY {groups}
    """  # noqa: S608  # every interpolated word comes from the tables above
    as_of = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(query, params | {"since": since, "until": until})
        points = [UsagePoint(row[0], dict(zip(names, row[1:-1], strict=True)), row[-1]) for row in cursor.fetchall()]
    return Usage(points, as_of)


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def last_days(days: int = 30, *, project_id: UUID | None = None) -> Usage:
    """Daily sums by meter for the chart of the home page, today included."""
    now = timezone.now()
    first = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)
    return usage(since=first, until=now + timedelta(hours=1), project_id=project_id)
