"""Counts usage exactly once: writes in their own transaction, reads through a spool that a crash cannot empty."""

import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import orjson
import uuid_utils.compat as uuid_utils
from django.conf import settings

from billing.metering.meters import Meter
from billing.metering.models import UsageEvent
from tenancy.scope import SqlCall, unscoped

SEGMENT_BYTES = 16 * 2**20
BATCH_BYTES = 2 * 2**20
SUFFIX = ".usage"


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


def usage_call(use: Use) -> SqlCall:
    """The same as a call for `scope.one_trip`."""
    return SqlCall(
        "metering_record",
        (uuid_utils.uuid7(), use.project_id, use.key_id, use.meter.value, use.quantity, use.end_user),
    )


class _Segment:
    """This process's own spool file, opened at first use; a new one after SEGMENT_BYTES or a fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.descriptor, self.size, self.pid = -1, 0, -1

    def append(self, line: bytes) -> None:
        with self.lock:
            if self.pid != os.getpid() or self.size > SEGMENT_BYTES:
                self._open()
            # one write an event: once it returns, the event survives this process (the page cache keeps it)
            written = os.write(self.descriptor, line)
            if written != len(line):
                raise OSError("The usage spool took only a part of an event: the disk is full.")
            self.size += written

    def _open(self) -> None:
        if self.pid == os.getpid():
            os.close(self.descriptor)
        folder = Path(settings.USAGE_SPOOL_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        name = folder / f"{uuid_utils.uuid7()}{SUFFIX}"
        self.descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        # held as long as this process lives: the shipper removes only segments that nobody writes any more
        os.lockf(self.descriptor, os.F_LOCK, 0)
        self.size, self.pid = 0, os.getpid()


_segment = _Segment()


def spool(use: Use) -> UUID:
    """Count a read without a query: append it to this process's spool file, which `ship` stores within seconds.

    Call it before the answer goes out: what was acknowledged is counted, even if the process dies right after.
    """
    event_id = uuid_utils.uuid7()
    _segment.append(
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
        + b"\n"
    )
    return event_id


def ship() -> int:
    """Store what the spool files of this machine hold; returns the number of events.

    Each batch and how far it reaches are one transaction, so any number of shippers may run, and die, at once.
    """
    folder = Path(settings.USAGE_SPOOL_DIR)
    shipped = 0
    with unscoped(reason="usage of every organization is shipped in one stream") as wide:
        positions = {row["segment"]: row["offset"] for row in wide.rows("metering_positions")}
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            shipped += _ship_segment(path, positions.get(path.name, 0))
    return shipped


def _ship_segment(path: Path, offset: int) -> int:
    shipped = 0
    with path.open("rb+") as file, unscoped(reason="usage of every organization is shipped in one stream") as wide:
        is_finished = _nobody_writes(file.fileno())
        while True:
            file.seek(offset)
            whole = file.read(BATCH_BYTES).rpartition(b"\n")[0]  # a torn last line waits for its rest
            if not whole:
                break
            events = [orjson.loads(line) for line in whole.split(b"\n")]
            end = offset + len(whole) + 1
            if not wide.rows("metering_ship", path.name, offset, end, json.dumps(events))[0]["is_shipped"]:
                return shipped  # another shipper was here first
            shipped += len(events)
            offset = end
    if is_finished:
        path.unlink(missing_ok=True)
    return shipped


def _nobody_writes(descriptor: int) -> bool:
    try:
        os.lockf(descriptor, os.F_TLOCK, 0)
    except OSError:
        return False
    return True


def roll_up(*, batch: int = 5000) -> int:
    """Add events that are not yet in the hourly sums to them; returns how many were."""
    total = 0
    with unscoped(reason="usage of every organization is rolled up in one stream") as wide:
        while done := wide.rows("metering_roll_up", batch)[0]["rolled_up"]:
            total += done
    return total
