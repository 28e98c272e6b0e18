"""Counts usage exactly once: writes in their own transaction, reads through a spool that a crash cannot empty."""

import logging
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import uuid_utils.compat as uuid_utils
from django.db import DatabaseError, transaction

from billing.metering import spool as files
from billing.metering.meters import Meter
from billing.metering.models import SpoolPosition, SpoolReject, UsageEvent
from capsule_cloud.memory.models import Session
from capsule_cloud.memory.services.retention import close_due_sessions
from tenancy.scope import OfFirst, SqlCall, unscoped

LARGEST_QUANTITY = 2**53
LATEST = 4_102_444_800  # 2100-01-01 in Unix seconds: a clock beyond it is broken
KEPT_OF_A_REJECT = 4096
log = logging.getLogger("metering")


class ShipFailed(Exception):
    """Some segments could not be stored; the log says why, the others are, and the next run tries again."""


@dataclass(frozen=True, slots=True)
class Use:
    """What is counted: `quantity` of a meter, by a key of a project, for one end user of the customer."""

    organization_id: UUID
    project_id: UUID
    key_id: UUID | None
    meter: Meter
    quantity: int = 1
    end_user: str = ""


def record(use: Use) -> UUID:
    """Count a write, in the transaction of the write itself, inside its scope. Returns the event's id."""
    event = UsageEvent.objects.create(
        organization_id=use.organization_id,
        project_id=use.project_id,
        key_id=use.key_id,
        meter=use.meter,
        quantity=use.quantity,
        end_user=use.end_user,
    )
    return event.pk


def usage_call(use: Use, *, end_user: OfFirst | None = None) -> SqlCall:
    """The same as a call for `scope.one_trip`; `end_user` when the trip's first call is what finds out who it is."""
    return SqlCall(
        "metering_record",
        (uuid_utils.uuid7(), use.project_id, use.key_id, use.meter.value, use.quantity, end_user or use.end_user),
    )


def seal_idle_sessions() -> int:
    """Seal idle sessions of every organization, each counted as one that a key seals; how many were looked at.

    The memory room knows no meters, so its sweep is started from here. Raises as `close_due_sessions` does.
    """
    return close_due_sessions(also=_count_seal)


def _count_seal(session: Session) -> None:
    record(Use(session.organization_id, session.project_id, None, Meter.SEAL, end_user=session.user_id))


def spool(use: Use) -> UUID:
    """Count a read without a query: append it to this process's spool file, which `ship` stores within seconds.

    Call it before the answer goes out: what was acknowledged is counted, even if the process dies right after.
    Raises SpoolFull.
    """
    event_id = uuid_utils.uuid7()
    files.append(
        orjson.dumps(
            {
                "id": event_id,
                "organization_id": use.organization_id,
                "project_id": use.project_id,
                "key_id": use.key_id,
                "meter": use.meter.value,
                "quantity": use.quantity,
                "end_user": use.end_user,
                "at": time.time(),
            }
        )
    )
    return event_id


def ship() -> int:
    """Store what the spool files of this machine hold; returns the number of events. 0 when another shipper is at work.

    Each batch and how far it reaches are one transaction, so a shipper may die anywhere. A line that is no event is set
    aside (SpoolReject); a segment that cannot be stored does not keep the others. Raises ShipFailed after them.
    """
    shipped, failed = 0, []
    with files.shipper() as is_shipper:
        if not is_shipper:
            return 0
        segments = files.segments()
        names = [segment.name for segment in segments]
        positions = dict(SpoolPosition.objects.filter(segment__in=names).values_list("segment", "offset"))
        for segment in segments:
            try:
                shipped += _ship_segment(segment, positions.get(segment.name, 0))
            except DatabaseError:
                log.exception("metering.ship_failed segment=%s", segment.name)
                failed.append(segment.name)
    if failed:
        raise ShipFailed(", ".join(failed))
    return shipped


def _ship_segment(segment: files.Segment, offset: int) -> int:
    shipped = 0
    with segment.finished() as is_finished:
        for batch in segment.batches(offset):
            shipped += _store(segment.name, batch)
        if is_finished:
            # the position goes first: killed in between, the next shipper reads the file again, and the events' ids
            # make the second time count for nothing
            SpoolPosition.objects.filter(segment=segment.name).delete()
            segment.remove()
    return shipped


def _store(name: str, batch: files.Batch) -> int:
    events, rejects, start = [], [], batch.start
    for line in batch.lines:
        event = _parsed(line)
        if event is None:
            log.error("metering.line_rejected segment=%s offset=%d", name, start)
            rejects.append(SpoolReject(segment=name, offset=start, line=line[:KEPT_OF_A_REJECT]))
        else:
            events.append(event)
        start += len(line) + 1
    with (
        transaction.atomic(durable=True),
        unscoped(reason="usage of every organization is shipped in one stream") as wide,
    ):
        [row] = wide.rows("metering_ship", name, batch.start, batch.end, orjson.dumps(events).decode())
        if not row["is_shipped"]:
            raise ShipFailed(f"Somebody else ships {name}: give every machine a USAGE_SPOOL_DIR of its own.")
        SpoolReject.objects.bulk_create(rejects, ignore_conflicts=True)
    return len(events)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """An event as `metering_ship` takes it, or None for what PostgreSQL would refuse together with the whole batch."""
    try:
        event = orjson.loads(line)
        is_event = (
            all(_is_uuid(event[name]) for name in ("id", "organization_id", "project_id"))
            and (event["key_id"] is None or _is_uuid(event["key_id"]))
            and 1 <= len(event["meter"]) <= 32
            and 0 <= int(event["quantity"]) < LARGEST_QUANTITY
            and len(event["end_user"]) <= 255
            and "\0" not in event["end_user"] + event["meter"]
            and 0 <= float(event["at"]) < LATEST
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return event if is_event else None


def _is_uuid(text: str) -> bool:
    return str(UUID(text)) == text


def roll_up(*, batch: int = 5000) -> int:
    """Add events that are not yet in the hourly sums to them; returns how many were."""
    total = 0
    with unscoped(reason="usage of every organization is rolled up in one stream") as wide:
        while done := wide.rows("metering_roll_up", batch)[0]["rolled_up"]:
            total += done
    return total
