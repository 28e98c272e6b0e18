"""Reads what the organization in scope used in a period, as PostgreSQL saw it at one moment: the watermark.

An hour in which one period ends and another begins belongs to the later one. A watermark is a snapshot of PostgreSQL
as text: events of transactions that it does not see came later, and are for an adjustment.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from billing.metering import ids
from billing.metering.hours import hour_of
from billing.metering.meters import GAUGES, Meter
from billing.metering.selectors import SLACK, SUMS
from billing.plans import ALLOWANCE_METERS, Allowance
from tenancy.scope import current_organization_id

Period = tuple[datetime, datetime]
MOST_EVENTS = 1_000  # a page
SEEN = "pg_visible_in_snapshot(abs(written_by)::text::xid8, %(watermark)s::pg_snapshot)"
UNSEEN = "NOT pg_visible_in_snapshot(abs(written_by)::text::xid8, %(after)s::pg_snapshot)"


@dataclass(frozen=True, slots=True)
class HourSum:
    """The sum of a meter's events in one UTC hour."""

    meter: str
    hour: datetime
    quantity: int
    events: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What was used, by meter and by allowance, in the sight of `watermark`."""

    watermark: str
    meters: Mapping[str, int]
    allowances: Mapping[Allowance, int]


@dataclass(frozen=True, slots=True)
class Sight:
    """Which events are meant: what `watermark` sees and `after`, if given, did not."""

    watermark: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class RawEvent:
    """A usage event as it was counted."""

    id: UUID
    project_id: UUID
    key_id: UUID | None
    meter: str
    quantity: int
    end_user: str
    occurred_at: datetime


def whole_hours(period: Period) -> Period:
    """The hours of a period, as metering's closed periods have them: the first, and the first that is not its own."""
    start, end = map(hour_of, period)
    return start, end


def measured(period: Period) -> Measured:
    """What the hourly sums of a period say now, and what is written but not in them yet."""
    since, until = whole_hours(period)
    query = f"""
        SELECT pg_current_snapshot()::text, summed.* FROM (VALUES (1)) AS one LEFT JOIN (
            SELECT meter, CASE WHEN meter = ANY(%(gauges)s) THEN hour END AS hour, sum(quantity)::bigint
            FROM ({SUMS}) AS every WHERE hour >= %(since)s AND hour < %(until)s GROUP BY 1, 2
        ) AS summed ON true
    """  # noqa: S608  # names are ours
    params: dict[str, Any] = {"organization": current_organization_id(), "since": since, "until": until}
    params["gauges"] = [gauge.value for gauge in GAUGES]
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        rows = cursor.fetchall()
    return summed(rows[0][0], [row[1:] for row in rows if row[1] is not None])


def summed(watermark: str, rows: Iterable[tuple[str, Any, int]]) -> Measured:
    """The meters and allowances that sums (meter, hour, quantity) come to; a counter's hours may be added up before.

    Counters add up. Stored bytes are the average of their samples, seats and end users the highest: samples of one
    hour are of different projects, and add up.
    """
    hours: defaultdict[str, defaultdict[Any, int]] = defaultdict(lambda: defaultdict(int))
    for meter, hour, quantity in rows:
        hours[meter][hour] += quantity
    meters = {meter: _combined(meter, list(sums.values())) for meter, sums in sorted(hours.items())}
    allowances = {
        one: sum(meters[meter] for meter in of if meter in meters)
        for one, of in ALLOWANCE_METERS.items()
        if any(meter in meters for meter in of)
    }
    return Measured(watermark, meters, allowances)


def _combined(meter: str, sums: list[int]) -> int:
    if meter == Meter.STORED_BYTES:
        return sum(sums) // len(sums)
    return max(sums) if meter in GAUGES else sum(sums)


def hours(period: Period, sight: Sight, meters: Iterable[str] | None = None) -> list[HourSum]:
    """The sums of each hour, made anew from the events that `sight` means, by hour and meter."""
    query = f"""
        SELECT meter, date_trunc('hour', occurred_at, 'UTC') AS hour, sum(quantity)::bigint, count(*)
        FROM metering_usageevent WHERE {_where(sight, meters)} GROUP BY 1, 2 ORDER BY 2, 1
    """  # noqa: S608  # names are ours
    with connection.cursor() as cursor:
        cursor.execute(query, _params(period, sight, meters))
        return [HourSum(*row) for row in cursor.fetchall()]


def events(
    period: Period,
    sight: Sight,
    meters: Iterable[str] | None = None,
    *,
    after: UUID | None = None,
    limit: int = MOST_EVENTS,
) -> list[RawEvent]:
    """A page of the events that `sight` means, by id; `after` is the last one of the page before."""
    where = _where(sight, meters) + (" AND id > %(last)s" if after else "")
    query = f"""
        SELECT id, project_id, key_id, meter, quantity, end_user, occurred_at
        FROM metering_usageevent WHERE {where} ORDER BY id LIMIT %(limit)s
    """  # noqa: S608  # names are ours
    params = _params(period, sight, meters) | {"last": after, "limit": min(limit, MOST_EVENTS)}
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return [RawEvent(*row) for row in cursor.fetchall()]


def _where(sight: Sight, meters: Iterable[str] | None) -> str:
    parts = [
        "organization_id = %(organization)s AND id >= %(first)s",
        "occurred_at >= %(since)s AND occurred_at < %(until)s",
        SEEN,
        *([UNSEEN] if sight.after else []),
        *(["meter = ANY(%(meters)s)"] if meters is not None else []),
    ]
    return " AND ".join(parts)


def _params(period: Period, sight: Sight, meters: Iterable[str] | None) -> dict[str, Any]:
    since, until = whole_hours(period)
    return {
        "organization": current_organization_id(),
        "first": ids.first(since - SLACK),
        "since": since,
        "until": until,
        "watermark": sight.watermark,
        "after": sight.after,
        "meters": sorted(meters) if meters is not None else None,
    }
