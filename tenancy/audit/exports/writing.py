"""The engine: takes on exports that are due, writes them, keeps them, and says so; whoever is killed is followed.

What is written goes into a folder of the export's own under EXPORTS_DIR, by one process at a time. At points that are
safely on disk the row says how far it is, and another process goes on from there. Nothing is offered before all of it
is in the store.
"""

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from capsule_cloud.lib import storage
from tenancy.audit import actions
from tenancy.audit.exports import files, proving, reading, rows, sending
from tenancy.audit.exports.models import Export, Format
from tenancy.audit.exports.turns import NotMine, Turn, claim, target_of
from tenancy.audit.sealing import exporting, selectors
from tenancy.audit.services import SYSTEM, record
from tenancy.webhooks import catalogue, events

BUDGET = 20.0  # seconds in which one call takes on more, if there is more
BEAT = 2.0  # seconds between two signs of life, which show how far it is
SETTLED_EVERY = 30.0  # seconds between two points to go on from
MOST_ATTEMPTS = 5
PAUSES = (10, 60, 300, 900)  # seconds after a failure
KEPT = timedelta(days=7)
log = logging.getLogger("audit.exports")
_is_running = threading.Lock()


def work(*, budget: float = BUDGET) -> int:
    """Write and send what is due, one after the other; returns how many were taken on. 0 where this process is at it.

    No transaction may be open.
    """
    if not _is_running.acquire(blocking=False):
        return 0
    try:
        ends_at, taken = time.monotonic() + budget, 0
        while time.monotonic() < ends_at and (turn := claim()) is not None:
            attend(turn)
            taken += 1
        return taken
    finally:
        _is_running.release()


def attend(turn: Turn) -> None:
    """Write or send one export; whatever goes wrong is put into its row, for people, and into the log."""
    try:
        if turn.is_sending:
            sending.send(turn)
        elif turn.attempts > MOST_ATTEMPTS:
            _give_back(turn, "Whatever wrote it was ended each time.")
        else:
            write(turn)
    except NotMine:
        return
    except (storage.StorageError, OSError) as error:
        log.warning("audit.export_interrupted export=%s why=%s", turn.export_id, error)
        _give_back(turn, _sentence(error))
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            shutil.rmtree(folder_of(turn.export_id), ignore_errors=True)  # room for others
    except Exception:
        log.exception("audit.export_failed export=%s organization=%s", turn.export_id, turn.organization_id)
        _give_back(turn, "Something went wrong on our side.")


def _sentence(error: Exception) -> str:
    if isinstance(error, storage.StorageError):
        return str(error)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "The disk that exports are written on is full."
    return "The folder that exports are written in cannot be used."


def _give_back(turn: Turn, sentence: str) -> None:
    """Let it be tried again later; after MOST_ATTEMPTS it has failed."""
    with contextlib.suppress(NotMine), turn.scope():
        export = Export.objects.select_for_update().get(pk=turn.export_id)
        if export.attempts < MOST_ATTEMPTS:
            pause = timedelta(seconds=PAUSES[min(export.attempts, len(PAUSES)) - 1])
            turn.say(failure=f"{sentence} It is tried again.", due_at=timezone.now() + pause)
            Export.objects.filter(pk=turn.export_id, turn=turn.turn).update(leased_until=None)
            return
        failure = f"{sentence} It was tried {export.attempts} times: ask for it again."
        turn.say(state=Export.State.FAILED, failure=failure)
        record(action=actions.EXPORT_FAILED, actor=SYSTEM, target=target_of(export))
        shutil.rmtree(folder_of(turn.export_id), ignore_errors=True)


def folder_of(export_id: UUID) -> Path:
    """Where an export is written, on this machine or on all that share EXPORTS_DIR."""
    return Path(settings.EXPORTS_DIR) / "part" / export_id.hex


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have the folder to oneself, also before a worker that was only asleep. Raises NotMine, or OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotMine from None
        yield


def write(turn: Turn) -> None:
    """Write an export from where it is, keep its files, and offer them. Raises NotMine, StorageError or OSError."""
    folder = folder_of(turn.export_id)
    with alone_in(folder):
        with turn.scope():
            export = Export.objects.get(pk=turn.export_id)
            if export.first is None:
                _choose_range(turn, export)
        written = _Writing(turn, export, folder).run()
        kept = proving.finish(turn, export, folder, written)
        store = storage.own()
        for one in kept:
            turn.keep()
            store.put(f"{export.folder}/{one['name']}", folder / one["name"])
        _offer(turn, export, kept)
    shutil.rmtree(folder, ignore_errors=True)


def _choose_range(turn: Turn, export: Export) -> None:
    """Fix what the export holds: of what is sealed under the newest checkpoint."""
    checkpoint = selectors.latest_checkpoint()
    size = checkpoint.size if checkpoint else 0
    export.first, export.last = rows.bounds(export.since, export.until, size)
    export.position = export.first
    export.checkpoint_size = size
    turn.say(first=export.first, last=export.last, position=export.first, checkpoint_size=size)


class _Writing:
    """The writing of one event file, and beside it of what is needed at the end of each event: place and hash."""

    def __init__(self, turn: Turn, export: Export, folder: Path) -> None:
        self.turn, self.export = turn, export
        self.path, self.places, self.records = folder / "events", folder / "places", folder / "records"
        self.first, self.last = export.first or 0, export.last or 0
        self.furthest = export.position  # that anybody came before
        self.said_at = self.settled_at = time.monotonic()

    def run(self) -> exporting.File:
        """Write it, from the last point on that is on disk; returns what it became."""
        export = self.export
        settled = export.settled if self._can_resume() else {"position": self.first, "rows": 0, "bytes": 0}
        export.position, export.rows = settled["position"], settled["rows"]
        name = f"{export.label}{files.ending(export.format, export.compression)}"
        with (
            files.EventFile(self.path, export.format, export.compression, settled["bytes"]) as out,
            _cut(self.places, export.rows * proving.PLACE) as places,
            _cut(self.records, self._records_until(export.position)) as records,
            reading.Reader(self.turn, export, out.prepare) as reader,
        ):
            for piece in reader.pieces(export.position, self.last):
                out.add(piece.prepared)
                places.write(piece.places.tobytes())
                if not export.filters:
                    records.write(exporting.records_of(piece.hashes, piece.start, piece.end))
                export.rows += len(piece.places)
                self._show_progress(out, [places, records], piece.end)
            sha = out.finish()
            size = out.size
        compression = "none" if export.format == Format.PARQUET else export.compression
        return exporting.File(name, export.format, compression, self._first_place(), export.rows, size, sha)

    def _records_until(self, position: int) -> int:
        """How long their file is then: who asked for some events gets the records of these, in the end."""
        return 0 if self.export.filters else (position - self.first) * exporting.RECORD

    def _can_resume(self) -> bool:
        settled = self.export.settled
        with contextlib.suppress(OSError):
            return bool(
                settled.get("bytes", 0) > 0
                and self.path.stat().st_size >= settled["bytes"]
                and self.places.stat().st_size >= settled["rows"] * proving.PLACE
                and self.records.stat().st_size >= self._records_until(settled["position"])
            )
        return False

    def _show_progress(self, out: files.EventFile, others: list[BinaryIO], position: int) -> None:
        now, export = time.monotonic(), self.export
        if now - self.said_at < BEAT:
            return
        values: dict[str, Any] = {"position": position, "rows": export.rows}
        if out.is_resumable and now - self.settled_at >= SETTLED_EVERY:
            for one in others:
                one.flush()
                os.fsync(one.fileno())
            values["settled"] = {**values, "bytes": out.settle()}
            if position > self.furthest:
                values["attempts"] = 1  # it gets on
            self.settled_at = now
        with self.turn.scope():
            self.turn.say(**values)
        self.said_at = now

    def _first_place(self) -> int:
        with self.places.open("rb") as places:
            head = places.read(proving.PLACE)
        return int.from_bytes(head, "little") if head else self.first


@contextlib.contextmanager
def _cut(path: Path, size: int) -> Iterator[BinaryIO]:
    """A file to be written from there on; what it had behind goes."""
    with path.open("r+b" if size else "wb") as file:
        file.truncate(size)
        file.seek(size)
        yield file


def _offer(turn: Turn, export: Export, kept: list[dict[str, Any]]) -> None:
    now = timezone.now()
    state = Export.State.SENDING if export.target_id else Export.State.READY
    with turn.scope():
        turn.say(
            state=state,
            files=kept,
            rows=export.rows,
            bytes=sum(one["bytes"] for one in kept),
            position=export.last or 0,
            failure="",
            ready_at=now,
            expires_at=now + KEPT,
            attempts=0,
            due_at=now,
        )
        Export.objects.filter(pk=export.pk).update(leased_until=None)
        said = {"events": export.rows, "sha256": kept[0]["sha256"]}
        record(action=actions.EXPORT_WRITTEN, actor=SYSTEM, target=target_of(export), metadata=said)
        events.emit(
            catalogue.AUDIT_EXPORT_READY,
            key=f"audit.export.ready:{export.pk}",
            data={"export_id": export.pk, "format": export.format, "events": export.rows, **said_about(kept)},
        )


def said_about(kept: list[dict[str, Any]]) -> dict[str, Any]:
    """What webhooks are told of an export's files."""
    return {"bytes": kept[0]["bytes"], "sha256": kept[0]["sha256"]}
