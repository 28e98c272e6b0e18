"""Counts what data planes elsewhere report: each event once, however often it is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.utils import timezone

from billing.metering import ids
from billing.metering.meters import COUNTERS, Meter
from billing.metering.models import ReportedEvent, UsageEvent
from billing.metering.services.recording import BadUse
from tenancy.scope import current_organization_id, unscoped

# An hour's sum must fit a bigint whatever is reported, or nobody's could be added any more
LARGEST_REPORT = 1_000_000
KEPT = timedelta(days=90)  # longer than OLDEST: when a report is forgotten, its event is too old to be reported again
FORGET_BATCH = 1_000


class BadTime(ValueError):
    """An event is older than ids.OLDEST, or more than ids.AHEAD in the future: nothing was counted."""


@dataclass(frozen=True, slots=True)
class Report:
    """What happened elsewhere; `source` and `name` (at most 255 characters each) are what makes it one event."""

    source: str
    name: str
    meter: Meter
    quantity: int
    end_user: str
    occurred_at: datetime

    def check(self) -> None:
        """Raises BadUse or BadTime."""
        if not 1 <= self.quantity <= LARGEST_REPORT or self.meter not in COUNTERS:
            raise BadUse(f"{self.quantity} of {self.meter.value} cannot be reported.")
        check_time(self.occurred_at)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a report: its usage event, and whether this call made it."""

    event_id: UUID
    is_new: bool


def check_time(occurred_at: datetime) -> None:
    """Raises BadTime."""
    now = timezone.now()
    if occurred_at < now - ids.OLDEST:
        raise BadTime(f"Older than {ids.OLDEST.days} days: too late to count.")
    if occurred_at > now + ids.AHEAD:
        minutes = ids.AHEAD // timedelta(minutes=1)
        raise BadTime(f"More than {minutes} minutes in the future: check the clock.")


def take(*, project_id: UUID, key_id: UUID, reports: Sequence[Report]) -> list[Taken]:
    """Count reports of the organization in scope, in its transaction; what became of each, in their order.

    One that was taken within the last 90 days, or stands here twice, counts once; what else it says then is ignored.
    Raises what `Report.check` does; the caller's transaction leaves all or nothing of a call.
    """
    organization_id = current_organization_id()
    fresh: dict[tuple[str, str], Report] = {}
    for report in reports:
        report.check()
        fresh.setdefault((report.source, report.name), report)
    # everybody in one order: two who send the same wait for each other, and never in a circle
    rows = [
        ReportedEvent(id=ids.mint(), organization_id=organization_id, source=source, name=name)
        for source, name in sorted(fresh)
    ]
    ReportedEvent.objects.bulk_create(rows, ignore_conflicts=True)
    known = _known(organization_id, rows)
    new = {(row.source, row.name): row.pk for row in rows if known[row.source, row.name] == row.pk}
    UsageEvent.objects.bulk_create(
        UsageEvent(
            id=event_id,
            organization_id=organization_id,
            project_id=project_id,
            key_id=key_id,
            meter=fresh[name].meter,
            quantity=fresh[name].quantity,
            end_user=fresh[name].end_user,
            occurred_at=fresh[name].occurred_at,
        )
        for name, event_id in new.items()
    )
    return [Taken(known[name], new.pop(name, None) is not None) for name in ((one.source, one.name) for one in reports)]


def _known(organization_id: UUID, rows: Sequence[ReportedEvent]) -> dict[tuple[str, str], UUID]:
    """Whose event each pair of source and name is, now that it is somebody's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT source, name, id FROM metering_reportedevent WHERE organization_id = %s"
            " AND (source, name) IN (SELECT * FROM unnest(%s::text[], %s::text[]))",
            [organization_id, [row.source for row in rows], [row.name for row in rows]],
        )
        return {(source, name): event_id for source, name, event_id in cursor.fetchall()}


def forget_old() -> int:
    """Forget a batch of what was reported more than KEPT ago, of every organization; returns how many there were."""
    with unscoped(reason="what was reported is forgotten after 90 days, whoever reported it") as wide:
        [row] = wide.rows("metering_forget_reports", timezone.now() - KEPT, FORGET_BATCH)
    return int(row["forgotten"])
