"""Leases: units that this process took from the counters and may use without asking again.

Most checks are a dictionary look-up. A lease is a thousandth of the cap (1 to 500 units) and shrinks with what is left,
so hard caps hold exactly and little lies idle; what does is given back within seconds, and at the end of the process.
Reads go on at a cap: they are counted beforehand there, a few at a time, and beyond it. So nothing is ever used that no
counter knows, whichever caps come next and whoever is killed.
The counters are PostgreSQL's and not Valkey's: every metered operation needs PostgreSQL anyway, so a check adds no way
to fail and no second truth that a restart could lose (docs/decisions/quotas.md).
"""

import logging
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.util import Finalize
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction

from billing.plans import Allowance
from tenancy.scope import SqlCall, one_trip

KEPT = 60.0  # seconds that an answer is taken for true, unless the caps change
IDLE = 5.0  # seconds without use after which a lease is given back
TOO_LATE = 240.0  # seconds after its end: a counter may have been settled since (`counters.GRACE`)
LOOK_EVERY = 2.0
ASK_AGAIN = 0.5  # seconds after a refusal in which nobody asks for as much
MOST_AHEAD = 500  # reads that are counted beforehand
MOST_LEASES = 10_000
log = logging.getLogger("quotas")


@dataclass(frozen=True, slots=True)
class Subject:
    """Who uses: the counters of the organization, the project and the key may all apply."""

    organization_id: UUID
    project_id: UUID
    key_id: UUID | None
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class Answer:
    """What `quotas_take` says. `rest` is what remained after it, for everybody; None without caps."""

    state: str  # free, granted, full or queued
    granted: int
    rest: int | None
    counters: tuple[UUID, ...]
    ends_at: float  # Unix seconds
    may_keep: bool
    is_throttled: bool
    level: str  # of the hard cap with the least left, if any
    span: str
    amount: int
    reaction: str
    allowance: str


@dataclass(slots=True)
class Lease:
    """What this process holds for a subject: `tokens` for anyone, and `ahead` for reads alone, also beyond a cap."""

    answer: Answer
    stamp: Hashable
    until: float
    used_at: float
    tokens: int = 0
    ahead: int = 0
    step: int = 0  # how many reads were counted beforehand the last time
    refused: int = 0  # units for which there was no room; fewer may find some
    refused_until: float = 0.0

    @property
    def held(self) -> int:
        """Units that the counters have, and nobody has used."""
        return self.tokens + self.ahead

    @property
    def remaining(self) -> int | None:
        """What is left for everybody, as far as this process knows; None without caps."""
        rest = self.answer.rest
        return None if rest is None else max(0, rest + self.tokens + self.ahead)  # not `held`: in every check


@dataclass(slots=True)  # made for every check: frozen would take three times as long
class Taken:
    """Units taken: from a lease, or (`lease` is None) in the transaction under way, whose end decides about them."""

    answer: Answer
    is_allowed: bool  # a write may go on; a read always may
    remaining: int | None  # for everybody, as far as this process knows; None without caps
    units: int = 0  # that an undone operation puts back
    lease: Lease | None = None


class MissingCounter(Exception):
    """A subject is counted for the first time in a span: make its counter from the usage events, and ask again."""

    def __init__(self, level: str, subject_id: UUID, span: str, starts_at: datetime) -> None:
        super().__init__(level, span)
        self.level, self.subject_id, self.span, self.starts_at = level, subject_id, span, starts_at


class Leases:
    """The leases of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Subject, Lease] = {}
        self._dropped: list[tuple[Subject, Lease]] = []

    def take(self, subject: Subject, units: int, *, stamp: Hashable, is_write: bool, is_queued: bool = False) -> Taken:
        """Take units, all or none. A read that finds too few is counted nevertheless.

        `stamp` changes with the caps; `is_queued` marks a write that has waited. Raises MissingCounter.
        """
        now = time.monotonic()
        with self._lock:
            lease = self._held.get(subject)
            if lease is not None and (lease.stamp != stamp or lease.until <= now):
                self._dropped.append((subject, self._held.pop(subject)))
                lease = None
            if lease is not None:
                lease.used_at = now
                if taken := _from_lease(lease, units, now, is_write=is_write):
                    return taken
        return self._ask(subject, units, stamp=stamp, is_write=is_write, is_queued=is_queued, lease=lease)

    def _ask(
        self, subject: Subject, units: int, *, stamp: Hashable, is_write: bool, is_queued: bool, lease: Lease | None
    ) -> Taken:
        is_inside = connections[DEFAULT_DB_ALIAS].in_atomic_block
        if not is_inside:
            self._return_dropped(subject.organization_id)  # what was held under earlier caps is in nobody's way
        ahead = 0 if is_write or is_inside or lease is None else self._step(lease)
        answer = ask(subject, units, ahead=ahead, is_write=is_write, is_queued=is_queued)
        if is_write and answer.state == "full" and answer.counters and not is_inside and self._drop_held(subject):
            self._return_dropped(subject.organization_id)
            answer = ask(subject, units, is_write=True, is_queued=is_queued)
        is_allowed = answer.state in {"free", "granted"}
        taken = units if answer.state == "granted" else 0
        if not is_inside:
            if answer.may_keep or not is_write:
                return self._keep(subject, answer, units, taken, stamp, ahead=ahead)
            now = time.monotonic()
            stray = Lease(answer, stamp, now + KEPT, now)  # is never held: an operation that fails puts back into it
            return Taken(answer, is_allowed, stray.remaining, taken, stray)
        if answer.may_keep:

            def keep() -> None:
                self._keep(subject, answer, units, taken, stamp)

            # What is left over counts once the transaction has ended well: the counters go back with it if it does not.
            transaction.on_commit(keep)
        rest = None if answer.rest is None else max(0, answer.rest + answer.granted - taken)
        return Taken(answer, is_allowed, rest, taken)

    def _step(self, lease: Lease) -> int:
        """How many reads to count beforehand: as many as half a second needs, none where they are few or room is."""
        with self._lock:
            if lease.answer.state == "granted" and lease.answer.may_keep:
                lease.step = 0
            elif lease.refused_until > time.monotonic():
                lease.step = min(MOST_AHEAD, 2 * lease.step + 1)
            else:
                lease.step //= 2
            return lease.step

    def _keep(
        self, subject: Subject, answer: Answer, units: int, taken: int, stamp: Hashable, *, ahead: int = 0
    ) -> Taken:
        now = time.monotonic()
        is_full = answer.state == "full"
        until = now + min(KEPT, answer.ends_at - time.time())
        with self._lock:
            lease = self._held.get(subject)
            if lease is not None and (lease.stamp != stamp or lease.answer.counters != answer.counters):
                self._dropped.append((subject, self._held.pop(subject)))
                lease = None
            if lease is None:
                if len(self._held) >= MOST_LEASES:
                    self._dropped += self._held.items()
                    self._held = {}
                lease = self._held[subject] = Lease(answer, stamp, until, now)
            if lease.held:
                until = min(until, lease.until)  # of the oldest unit: settling relies on it
            lease.answer, lease.until, lease.used_at = answer, until, now
            lease.tokens += answer.granted - taken
            lease.ahead += ahead if answer.counters else 0
            lease.refused = units
            lease.refused_until = now + ASK_AGAIN if is_full or not answer.may_keep else 0.0
            return Taken(answer, not is_full, lease.remaining, taken, lease)

    def put_back(self, subject: Subject, taken: Taken) -> None:
        """Undo a take whose operation did not happen. What a transaction took goes back with it."""
        if taken.lease is None or not taken.units:
            return
        with self._lock:
            if self._held.get(subject) is taken.lease:
                taken.lease.tokens += taken.units
            else:  # it has been given back meanwhile: this is a small one of its own
                lease = taken.lease
                stray = Lease(lease.answer, lease.stamp, lease.until, lease.used_at, taken.units)
                self._dropped.append((subject, stray))

    def give_back(self, idle: float = IDLE) -> int:
        """Give back what has been idle for so many seconds, or has ended; returns the number of units.

        What cannot be given back, because the database is away or it is too late, is forgotten here: settling finds it
        in the usage events.
        """
        now = time.monotonic()
        with self._lock:
            ended = [
                subject
                for subject, lease in self._held.items()
                if lease.until <= now or (lease.used_at + idle <= now and lease.held)
            ]
            dropped = self._dropped + [(subject, self._held.pop(subject)) for subject in ended]
            self._dropped = []
        return sum(_returned(subject, lease) for subject, lease in dropped)

    def _return_dropped(self, organization_id: UUID) -> None:
        if not self._dropped:
            return
        with self._lock:
            dropped = [one for one in self._dropped if one[0].organization_id == organization_id]
            self._dropped = [one for one in self._dropped if one[0].organization_id != organization_id]
        for subject, lease in dropped:
            _returned(subject, lease)

    def _drop_held(self, subject: Subject) -> bool:
        """Drop a lease that holds units; whether there was one."""
        with self._lock:
            lease = self._held.get(subject)
            if lease is None or not lease.held:
                return False
            self._dropped.append((subject, self._held.pop(subject)))
            return True

    def forget(self, organization_id: UUID) -> None:
        """Hold nothing of an organization any more: its caps have changed. What was held is given back later."""
        with self._lock:
            for subject in [one for one in self._held if one.organization_id == organization_id]:
                self._dropped.append((subject, self._held.pop(subject)))


def _from_lease(lease: Lease, units: int, now: float, *, is_write: bool) -> Taken | None:
    """Units, or a refusal that is fresh; None: ask."""
    answer = lease.answer
    if is_write and not answer.may_keep:
        return None
    if answer.rest is None:
        return Taken(answer, True, None)
    if lease.tokens >= units:
        lease.tokens -= units
        return Taken(answer, True, lease.remaining, units, lease)
    if not is_write and lease.ahead >= units:
        lease.ahead -= units
        return Taken(answer, False, lease.remaining)
    if is_write and lease.refused_until > now and units >= lease.refused:
        return Taken(answer, False, lease.remaining)
    return None


def _returned(subject: Subject, lease: Lease) -> int:
    """Give a dropped lease's units back to the counters; how many went."""
    if not lease.held or time.monotonic() >= lease.until + TOO_LATE:
        return 0
    try:
        one_trip(subject.organization_id, SqlCall("quotas_give_back", (list(lease.answer.counters), lease.held)))
    except DatabaseError:
        log.exception("quotas.not_given_back organization=%s units=%d", subject.organization_id, lease.held)
        return 0
    return lease.held


def ask(subject: Subject, units: int, *, ahead: int = 0, is_write: bool, is_queued: bool) -> Answer:
    """One question to the counters, which count `ahead` units more whatever room there is. Raises MissingCounter."""
    [row] = one_trip(
        subject.organization_id,
        SqlCall(
            "quotas_take",
            (
                subject.project_id,
                subject.key_id,
                subject.allowance.value,
                units,
                ahead,
                is_write,
                True,
                is_queued,
            ),
        ),
    )
    state, granted, rest, counters, starts_at, ends_at, may_keep, is_throttled, level, subject_id, *cap = row
    span, amount, reaction, allowance = cap
    if state == "missing":
        raise MissingCounter(level, subject_id, span, starts_at)
    return Answer(
        state=state,
        granted=granted,
        rest=rest,
        counters=tuple(counters),
        ends_at=ends_at,
        may_keep=may_keep,
        is_throttled=is_throttled,
        level=level or "",
        span=span or "",
        amount=amount or 0,
        reaction=reaction or "",
        allowance=allowance,
    )


class _Returner:
    """Gives back what lies idle while the process has nothing else to do, and everything at its end."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        threading.Thread(target=self._run, name="quota-leases", daemon=True).start()
        # not `atexit`: servers fork their workers with multiprocessing, whose children end without it
        self._at_end = Finalize(None, self._end, exitpriority=0)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY):
            if leases.give_back():
                connections.close_all()  # this thread's own: it may not need one for hours

    def _end(self) -> None:
        self._stopping.set()
        leases.give_back(idle=-1.0)

    def stop(self) -> None:
        """Leave what is held to whoever started it."""
        self._stopping.set()
        self._at_end.cancel()


leases = Leases()
_returners: list[_Returner] = []


def start() -> None:
    """Begin giving back, for as long as this process lives; a server calls it once."""
    _returners.append(_Returner())


def stop() -> None:
    """Give nothing back by itself any more: for a process that looks like a server and is none."""
    while _returners:
        _returners.pop().stop()
