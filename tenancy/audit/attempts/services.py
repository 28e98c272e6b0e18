"""Records what was tried and refused, so that whoever tries cannot fill the disk, and reads of the trail likewise.

In one hour the first FIRST attempts of a source are events of their own, its later ones are counted, and told as one
event when the hour is over. A source is an actor at an address; of an organization, MOST_SOURCES are told apart in an
hour, and the others are one. So an hour has at most (MOST_SOURCES + the number of actions) * (FIRST + 1) events of an
organization. Beyond the first, a process counts for itself and writes the sum every FLUSH_EVERY seconds.
"""

import ipaddress
import logging
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from multiprocessing.util import Finalize
from typing import Any
from uuid import UUID

import orjson
from django.db import DatabaseError, connections
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.actions import CATALOGUE, Action
from tenancy.audit.attempts.models import AttemptCount
from tenancy.audit.services import Actor, Target, current_context, record
from tenancy.scope import preparing_cursor, scope, unscoped

FIRST = 5  # of a source, an action and an hour, told one by one
MOST_SOURCES = 100  # of an organization in an hour
FLUSH_EVERY = 5.0  # seconds
SETTLED_AFTER = timedelta(minutes=5)  # of the next hour: by then every process has written its sums
PAGE = 1_000  # organizations summed up at once
MOST_TALLIES = 10_000  # of a process
NOBODY = Actor("unknown", "", "Somebody who is not signed in")
_COUNT = "SELECT audit_count_attempts(%s, %s, %s, %s, %s, %s, %s, %s)"
log = logging.getLogger("audit")


@dataclass(slots=True)
class _Tally:
    """What this process has counted of a source that has been told often enough, and has not yet written."""

    hour: datetime
    actor: Actor
    target: Target
    pending: int = 0


_Key = tuple[UUID, str, str]  # organization, action, source
_tallies: dict[_Key, _Tally] = {}
_lock = threading.Lock()


def attempt(
    *,
    organization_id: UUID,
    action: Action,
    actor: Actor = NOBODY,
    target: Target,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Record that something was tried and refused, in a transaction of its own; after the first few it is counted.

    It never fails: what was refused stays refused, and a database that is away is logged.
    """
    source = f"{actor.kind}:{actor.id}:{network(current_context().ip)}"[:64]
    try:
        _note(organization_id, action, source, actor, target, metadata, FIRST)
    except DatabaseError:
        log.exception("audit.attempt_lost organization=%s action=%s", organization_id, action.name)


def reading(*, organization_id: UUID, page: str, actor: Actor) -> None:
    """Record that somebody reads the trail: once for a reader, a page and an hour. Raises DatabaseError."""
    target = Target("audit_log", page, "Audit log")
    _note(organization_id, actions.TRAIL_READ, f"{actor.kind}:{actor.id}:{page}"[:64], actor, target, {"page": page}, 1)


def network(ip: str) -> str:
    """Whose address it is: IPv4 as it is, of IPv6 the network of 64 bits that one customer of a provider has."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ""
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)).network_address)


def _note(
    organization_id: UUID,
    action: Action,
    source: str,
    actor: Actor,
    target: Target,
    metadata: Mapping[str, Any] | None,
    first: int,
) -> None:
    hour, key = hour_of(timezone.now()), (organization_id, action.name, source)
    with _lock:
        tally = _tallies.get(key)
        if tally is not None and tally.hour == hour:
            tally.pending += 1
            return
    if tally is not None:
        flush()  # of the hour before
    with scope(organization_id):
        total = _count(organization_id, hour, action.name, source, 1, actor, target)
        if total <= first:
            record(action=action, actor=actor, target=target, metadata=metadata)
    if total >= first:
        with _lock:
            if len(_tallies) >= MOST_TALLIES:
                _forget()
            _tallies[key] = _Tally(hour, actor, target)


def _forget() -> None:
    """Make room: what has nothing to write is found again by one more question to PostgreSQL."""
    for key in [key for key, tally in _tallies.items() if not tally.pending]:
        del _tallies[key]


def _count(
    organization_id: UUID, hour: datetime, action: str, source: str, times: int, actor: Actor, target: Target
) -> int:
    parties = [orjson.dumps(asdict(one)).decode() for one in (actor, target)]
    with preparing_cursor() as cursor:
        cursor.execute(_COUNT, [organization_id, hour, action, source, times, MOST_SOURCES, *parties])
        [(total,)] = cursor.fetchall()
    return int(total)


def hour_of(moment: datetime) -> datetime:
    """The beginning of its hour."""
    return moment.replace(minute=0, second=0, microsecond=0)


def flush() -> None:
    """Write what this process has counted; what cannot be written stays for the next time."""
    with _lock:
        due = [(key, tally, tally.pending) for key, tally in _tallies.items() if tally.pending]
        for _, tally, _ in due:
            tally.pending = 0
    for (organization_id, action, source), tally, times in due:
        try:
            with scope(organization_id):
                _count(organization_id, tally.hour, action, source, times, tally.actor, tally.target)
        except DatabaseError:
            log.exception("audit.attempts_wait organization=%s action=%s", organization_id, action)
            with _lock:
                tally.pending += times
    with _lock:
        now = hour_of(timezone.now())
        for key in [key for key, tally in _tallies.items() if tally.hour < now and not tally.pending]:
            del _tallies[key]


def sum_up(*, now: datetime | None = None) -> int:
    """Tell the attempts of hours that are over which were not told one by one; how many sources were summed up."""
    before, told = hour_of((now or timezone.now()) - SETTLED_AFTER), 0
    with unscoped(reason="find organizations whose counts of attempts are complete") as wide:
        due = [row["organization_id"] for row in wide.rows("audit_attempts_before", before, PAGE)]
    for organization_id in due:
        with scope(organization_id):
            over = AttemptCount.objects.filter(hour__lt=before).select_for_update(skip_locked=True)
            rows = list(over.order_by("hour", "action", "source"))
            for row in rows:
                told += _sum_up(row)
            AttemptCount.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return told


def _sum_up(row: AttemptCount) -> bool:
    action = CATALOGUE.get(row.action)
    if action is None or not action.is_failure or row.count <= FIRST:
        return False
    record(
        action=actions.ATTEMPTS_REPEATED,
        actor=Actor(**row.actor) if row.source else NOBODY,
        target=Target(**row.target),
        metadata={
            "action": row.action,
            "attempts": row.count,
            "recorded": FIRST,
            "since": row.hour.isoformat(),
            "until": (row.hour + timedelta(hours=1)).isoformat(),
        },
    )
    return True


class _Writer:
    """Writes this process's sums every few seconds, and when it ends."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        threading.Thread(target=self._run, name="audit-attempts", daemon=True).start()
        self._at_end = Finalize(None, self._end, exitpriority=0)  # not `atexit`: forked workers end without it

    def _run(self) -> None:
        while not self._stopping.wait(FLUSH_EVERY):
            flush()
            connections.close_all()  # this thread's own: it may not need one for hours

    def _end(self) -> None:
        self._stopping.set()
        flush()

    def stop(self) -> None:
        """Leave what is counted to whoever started it."""
        self._stopping.set()
        self._at_end.cancel()


_writers: list[_Writer] = []


def start() -> None:
    """Begin writing sums, for as long as this process lives; a server calls it once."""
    _writers.append(_Writer())


def stop() -> None:
    """Write none by itself any more: for a process that looks like a server and is none."""
    while _writers:
        _writers.pop().stop()
