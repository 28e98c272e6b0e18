"""Stores what the spool holds: a batch, its hourly sums and how far it reaches are one transaction."""

import logging
import re
from datetime import timedelta

import orjson
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from billing.metering import ids
from billing.metering import spool as files
from billing.metering.models import SpoolPosition, SpoolReject
from billing.metering.services import watermark
from billing.metering.services.recording import LARGEST_QUANTITY
from tenancy.scope import unscoped

LATEST = 4_102_444_800  # 2100-01-01 in Unix seconds: a clock beyond it is broken
# A clock that was wrong by so much is corrected, and what it dated counts; partitions are made ahead for longer.
AHEAD = timedelta(days=31)
NULL = r"\N"
KEPT_OF_A_REJECT = 4096
COPY = "COPY pg_temp.metering_staged FROM STDIN"  # its columns are those of `_row`
_is_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_is_event_id = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").fullmatch
# What COPY's text format reads as something else
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
log = logging.getLogger("metering")


class ShipFailed(Exception):
    """Some segments could not be stored; the log says why, the others are, and the next run tries again."""


def ship() -> int:
    """Store what the spool files of this machine hold; returns the number of new events.

    0 when another shipper is at work. It may die anywhere. A line that is no event is set aside (SpoolReject); a
    segment that cannot be stored does not keep the others, but then nobody is told that this machine is stored
    (watermark). Raises ShipFailed after them.
    """
    shipped, failed = 0, []
    with files.shipper() as is_shipper:
        if not is_shipper:
            return 0
        began = watermark.moment()  # whatever was acknowledged before is in the files by now
        segments = files.segments()
        names = [segment.name for segment in segments]
        positions = dict(SpoolPosition.objects.filter(segment__in=names).values_list("segment", "offset"))
        for segment in segments:
            try:
                shipped += _ship_segment(segment, positions.get(segment.name, 0))
            except DatabaseError:
                log.exception("metering.ship_failed segment=%s", segment.name)
                failed.append(segment.name)
        if not failed:
            watermark.move(began)
    if failed:
        raise ShipFailed(", ".join(failed))
    return shipped


def _ship_segment(segment: files.Segment, offset: int) -> int:
    shipped = 0
    with segment.finished() as is_finished:
        for batch in segment.batches(offset, is_finished=is_finished):
            shipped += _store(segment.name, batch)
        if is_finished:
            # the position goes first: killed in between, the next shipper reads the file again, and the events' ids
            # make the second time count for nothing
            SpoolPosition.objects.filter(segment=segment.name).delete()
            segment.remove()
    return shipped


def _store(name: str, batch: files.Batch) -> int:
    rows: list[str] = []
    rejects: list[SpoolReject] = []
    start = batch.start
    latest = str(ids.first(timezone.now() + AHEAD))
    for line in batch.lines:
        if (row := _row(line, latest)) is None:
            log.error("metering.line_rejected segment=%s offset=%d", name, start)
            rejects.append(SpoolReject(segment=name, offset=start, line=line[:KEPT_OF_A_REJECT]))
        else:
            rows.append(row)
        start += len(line) + 1
    with (
        transaction.atomic(durable=True),
        unscoped(reason="usage of every organization is shipped in one stream") as wide,
    ):
        wide.rows("metering_stage")
        with connection.cursor() as cursor, cursor.copy(COPY) as copy:
            copy.write("".join(rows))
        [done] = wide.rows("metering_ship", name, batch.start, batch.end)
        if not done["is_shipped"]:
            raise ShipFailed(f"Somebody else ships {name}: give every machine a USAGE_SPOOL_DIR of its own.")
        SpoolReject.objects.bulk_create(rejects, ignore_conflicts=True)
    return int(done["stored"])


def _row(line: bytes, latest: str) -> str | None:
    """An event as a line of COPY, or None for what PostgreSQL would refuse together with the whole batch.

    An old id is none of these: a shipper that was away for months must lose nothing.
    """
    try:
        event = orjson.loads(line)
        event_id, meter, quantity = event["id"], event["meter"], event["quantity"]
        organization_id, project_id, key_id = event["organization_id"], event["project_id"], event["key_id"]
        end_user, at = event["end_user"], float(event["at"])
        is_event = (
            _is_event_id(event_id)
            and event_id < latest
            and _is_uuid(organization_id)
            and _is_uuid(project_id)
            and (key_id is None or _is_uuid(key_id))
            and 1 <= len(meter) <= 32
            and meter.isidentifier()
            and type(quantity) is int
            and 0 <= quantity < LARGEST_QUANTITY
            and len(end_user) <= 255
            and "\0" not in end_user
            and 0 <= at < LATEST
        )
        names = (event_id, organization_id, project_id, key_id or NULL, meter)
        row = "\t".join((*names, str(quantity), end_user.translate(_ESCAPES), f"{at!r}\n"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return row if is_event else None
