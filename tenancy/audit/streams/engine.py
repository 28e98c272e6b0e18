"""The engine: takes streams that have something to send, of all organizations in turns, and moves their cursors.

At least once and in order: a stream is leased by one worker at a time, and its cursor moves in the transaction that
writes down what arrived. Threads only send; the database is asked by the loop alone, never while it waits for others.
"""

import logging
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from tenancy.audit.streams import batches, progress
from tenancy.audit.streams.models import Stream
from tenancy.audit.streams.outcomes import Outcome, failed
from tenancy.audit.streams.parcels import Parcel, parcel
from tenancy.scope import scope, unscoped

SLOTS = 64  # targets that are asked at once in a process
FAILING = 16  # of them, such as failed the last time
OF_ONE = 4  # streams of one organization at once
IN_A_ROW = 8  # batches of a stream, before others have a turn
LEASE = timedelta(seconds=30)  # a request that was begun is over by then, or its worker is dead
STORE_LEASE = timedelta(minutes=12)  # three files with their retries
BUDGET = 20.0  # seconds that one call goes on for, if there is work
KEPT, ASIDE_KEPT, MOST_KEPT = timedelta(days=30), timedelta(days=90), 1_000  # of the log; of events set aside
log = logging.getLogger("audit.streams")
_is_running = threading.Lock()


@dataclass(frozen=True, slots=True)
class Turn:
    """A stream that is this worker's for the length of a lease."""

    stream_id: UUID
    organization_id: UUID
    turn: UUID
    made: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """What one turn sent, and what came of it."""

    turn: Turn
    batch: batches.Batch
    parcel: Parcel
    started_at: datetime
    milliseconds: int
    outcome: Outcome


def deliver(*, budget: float = BUDGET) -> int:
    """Send what is due until nothing is, or for `budget` seconds; returns how many batches were sent.

    Where this process is at it already, 0 at once.
    """
    if not _is_running.acquire(blocking=False):
        return 0
    try:
        with ThreadPoolExecutor(SLOTS, "stream") as threads:
            return _run(threads, time.monotonic() + budget)
    finally:
        _is_running.release()


def _run(threads: ThreadPoolExecutor, ends_at: float) -> int:
    ended: queue.SimpleQueue[Sent] = queue.SimpleQueue()
    under_way, made = 0, 0
    results: list[Sent] = []
    while True:
        free = SLOTS - under_way
        # looking for work costs as much for one slot as for all: wait for some, unless those that are left hang
        is_time = free >= SLOTS // 2 or (free and not results)
        turns = _claim(free) if is_time and time.monotonic() < ends_at else []
        under_way += sum(_begin(threads, one, ended) for one in turns)
        if not under_way:
            return made
        results = _take(ended)
        under_way -= len(results)
        made += len(results)
        for sent in results:
            goes_on = _settle(sent, may_go_on=time.monotonic() < ends_at)
            if goes_on and _begin(threads, replace(sent.turn, made=sent.turn.made + 1), ended):
                under_way += 1


def _claim(slots: int) -> list[Turn]:
    with unscoped(reason="streams of every organization are served by one loop") as wide:
        rows = wide.rows("audit_streams_claim", slots, FAILING, OF_ONE, LEASE, STORE_LEASE)
    return [Turn(**row) for row in rows]


def _begin(threads: ThreadPoolExecutor, turn: Turn, ended: "queue.SimpleQueue[Sent]") -> bool:
    """Read what comes next and have it sent; whether there is anything. A failure of ours costs this stream alone."""
    try:
        with scope(turn.organization_id):
            stream = Stream.objects.filter(pk=turn.stream_id, turn=turn.turn).first()
            batch = batches.next_batch(stream) if stream else None
            if stream is None:
                return False
            if batch is None:
                progress.release(stream)
                return False
            if not batch.lines:
                progress.pass_over(stream, batch)
                return False
            made = parcel(stream, batch)
    except Exception:
        log.exception("audit_streams.failed stream=%s organization=%s", turn.stream_id, turn.organization_id)
        with scope(turn.organization_id):
            progress.push_ahead(turn.stream_id, turn.turn, "It could not be prepared. We have been told, and look.")
        return False
    threads.submit(_work, turn, batch, made, ended)
    return True


def _work(turn: Turn, batch: batches.Batch, made: Parcel, ended: "queue.SimpleQueue[Sent]") -> None:
    started_at, started = timezone.now(), time.monotonic()
    outcome = failed("It could not be sent. We have been told, and look.", "internal")
    try:
        outcome = made.send()
    except Exception:
        log.exception("audit_streams.failed stream=%s organization=%s", turn.stream_id, turn.organization_id)
    finally:
        took = int((time.monotonic() - started) * 1000)
        ended.put(Sent(turn, batch, made, started_at, took, outcome))


def _take(ended: "queue.SimpleQueue[Sent]") -> list[Sent]:
    """All that has ended, waiting a little for the first."""
    results = []
    try:
        results.append(ended.get(timeout=0.2))
        while True:
            results.append(ended.get_nowait())
    except queue.Empty:
        return results


def _settle(sent: Sent, *, may_go_on: bool) -> bool:
    """Write down what came of a batch; whether its stream goes on at once."""
    turn = sent.turn
    try:
        with scope(turn.organization_id):
            stream = Stream.objects.select_for_update(no_key=True).filter(pk=turn.stream_id, turn=turn.turn).first()
            if stream is None or stream.next_seq != sent.batch.first:
                return False  # it was deleted or sent elsewhere meanwhile, or another worker has it
            told = progress.Told(sent.parcel.bytes, sent.started_at, sent.milliseconds, sent.outcome)
            goes_on = may_go_on and turn.made + 1 < IN_A_ROW and sent.outcome.has_arrived and sent.batch.has_more
            lease = STORE_LEASE if stream.is_store else LEASE
            return progress.settle(stream, sent.batch, told, keep=lease if goes_on else None)
    except Exception:
        # its lease ends by itself, and the batch is sent again
        log.exception("audit_streams.settle_failed stream=%s organization=%s", turn.stream_id, turn.organization_id)
        return False


def tidy() -> int:
    """Delete what the logs keep no longer; returns how much."""
    with unscoped(reason="logs of every organization end with their time") as wide:
        [row] = wide.rows("audit_streams_tidy", KEPT, ASIDE_KEPT, MOST_KEPT)
    return int(row["deleted"])
