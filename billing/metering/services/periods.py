"""Closes periods: freezes what was used in them, and tells what came late with the next one."""

import json
import logging
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connection
from django.utils import timezone

from billing.metering import ids
from billing.metering.hours import hour_of
from billing.metering.models import UsageAdjustment, UsagePeriod
from billing.metering.selectors import SLACK
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.errors import Conflict, TenancyError
from tenancy.scope import scope, unscoped
from tenancy.services import organizations

GRACE = timedelta(hours=24)  # what is stored later than this after a period is told with the next one
LATE = timedelta(days=400)  # and no longer than this
PAGE = 500
HOURS = """
    SELECT hour, project_id, key_id, meter, quantity, events FROM metering_usagehour
    WHERE organization_id = %(organization)s
    UNION ALL SELECT hour, project_id, key_id, meter, quantity, 1 FROM metering_pending()
"""
EVENTS = """
    SELECT date_trunc('hour', occurred_at, 'UTC') AS hour, project_id, key_id, meter, quantity, 1 AS events
    FROM metering_usageevent WHERE organization_id = %(organization)s AND id >= %(first)s
    AND pg_visible_in_snapshot(abs(written_by)::text::xid8, %(watermark)s::pg_snapshot)
"""
# One line an hour and group, in a fixed order: whoever has the lines can compute the checksum.
FREEZE = """
    WITH lines AS (
        SELECT hour, project_id, key_id, meter, sum(quantity)::bigint AS quantity, sum(events)::bigint AS events
        FROM ({source}) AS every WHERE hour >= %(since)s AND hour < %(until)s GROUP BY hour, project_id, key_id, meter
    )
    SELECT pg_current_snapshot()::text,
        (SELECT coalesce(jsonb_object_agg(meter, jsonb_build_object('quantity', quantity, 'events', events)), '{{}}')
         FROM (
            SELECT meter, sum(quantity) AS quantity, sum(events) AS events FROM lines GROUP BY meter
         ) AS totals)::text,
        (SELECT encode(sha256(convert_to(coalesce(string_agg(format(
            '%%s|%%s|%%s|%%s|%%s|%%s', extract(epoch FROM hour)::bigint, project_id, key_id, meter, quantity, events
         ), E'\\n' ORDER BY hour, project_id, key_id, meter), ''), 'UTF8')), 'hex') FROM lines)
"""
log = logging.getLogger("metering")


class PeriodOpen(Conflict):
    """The period is not over yet, or its grace is not: ask again when it is."""


class PeriodsOverlap(Conflict):
    """The period ends before it begins, or another one of the organization that is closed reaches into it."""


class CloseFailed(Exception):
    """Some organizations' periods could not be closed; the log says why, the next run tries again."""


def close_due(*, now: datetime | None = None) -> int:
    """Close every period whose grace has passed, each in a transaction of its own; how many were.

    One that cannot be closed does not keep the others. Raises CloseFailed after them.
    """
    moment = (now or timezone.now()) - GRACE
    closed, failed = 0, set[UUID]()
    while rows := [row for row in _over(moment) if row["organization_id"] not in failed]:
        for row in rows:
            try:
                with scope(row["organization_id"]):
                    close_period(actor=SYSTEM, since=row["starts_at"], until=row["ends_at"], now=now)
            except (DatabaseError, TenancyError):
                log.exception("metering.close_failed organization=%s", row["organization_id"])
                failed.add(row["organization_id"])
            else:
                closed += 1
    if failed:
        raise CloseFailed(", ".join(map(str, failed)))
    return closed


def _over(moment: datetime) -> list[dict[str, Any]]:
    with unscoped(reason="find organizations whose period is over") as wide:
        return wide.rows("metering_periods_over", moment, PAGE)


def close_period(*, actor: Actor, since: datetime, until: datetime, now: datetime | None = None) -> UsagePeriod:
    """Freeze what the organization in scope used from `since` to `until` (exclusive); once, however often asked.

    What came to earlier periods since they were closed becomes adjustments, told in this one. Raises PeriodOpen and
    PeriodsOverlap.
    """
    since, until = hour_of(since), hour_of(until)
    organization = organizations.locked()
    closed = UsagePeriod.objects.filter(starts_at=since, ends_at=until).first()
    if closed is not None:
        return closed
    if until <= since or UsagePeriod.objects.filter(starts_at__lt=until, ends_at__gt=since).exists():
        raise PeriodsOverlap("That period ends before it begins, or another one that is closed reaches into it.")
    if (now or timezone.now()) < until + GRACE:
        raise PeriodOpen("Usage of that period may still come in.")
    watermark, totals, checksum = _frozen(organization.pk, since, until)
    period = UsagePeriod.objects.create(
        starts_at=since, ends_at=until, totals=totals, watermark=watermark, checksum=checksum
    )
    adjustments = UsageAdjustment.objects.bulk_create(
        UsageAdjustment(period=earlier, told_in=period, meter=meter, quantity=quantity, events=events)
        for earlier in UsagePeriod.objects.filter(ends_at__lte=since, ends_at__gt=since - LATE)
        for meter, (quantity, events) in late(earlier).items()
    )
    record(
        action=actions.USAGE_PERIOD_CLOSED,
        actor=actor,
        target=Target("usage_period", str(period.pk), str(period)),
        metadata={"totals": totals, "checksum": checksum, "adjustments": len(adjustments)},
    )
    return period


def late(period: UsagePeriod) -> dict[str, tuple[int, int]]:
    """What came to a closed period and is in no adjustment yet: quantity and number of events by meter, if any."""
    _, now, _ = _frozen(period.organization_id, period.starts_at, period.ends_at)
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for sign, totals in ((1, now), (-1, period.totals)):
        for meter, total in totals.items():
            found[meter][0] += sign * total["quantity"]
            found[meter][1] += sign * total["events"]
    for told in UsageAdjustment.objects.filter(period=period):
        found[told.meter][0] -= told.quantity
        found[told.meter][1] -= told.events
    return {meter: (quantity, events) for meter, (quantity, events) in sorted(found.items()) if quantity or events}


def is_what_was_counted(period: UsagePeriod) -> bool:
    """Whether the raw events that the period's watermark sees still come to its totals and its checksum."""
    _, totals, checksum = _frozen(period.organization_id, period.starts_at, period.ends_at, period.watermark)
    return bool(totals == period.totals and checksum == period.checksum)


def _frozen(
    organization_id: UUID, since: datetime, until: datetime, watermark: str = ""
) -> tuple[str, dict[str, dict[str, int]], str]:
    """PostgreSQL's snapshot, the totals and the checksum; with a watermark from the raw events that it sees."""
    query = FREEZE.format(source=EVENTS if watermark else HOURS)
    params: dict[str, Any] = {
        "organization": organization_id,
        "since": since,
        "until": until,
        "first": ids.first(since - SLACK),
        "watermark": watermark,
    }
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        [(snapshot, totals, checksum)] = cursor.fetchall()
    return snapshot, json.loads(totals), checksum
