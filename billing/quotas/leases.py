"""Leases: units that this process took from the counters and may use without asking again.

Most checks are a dictionary look-up. A lease is a thousandth of the cap (1 to 500 units) and shrinks with what is left,
so hard caps hold exactly and little lies idle; what does is given back within seconds, and at the end of the process.
The counters are PostgreSQL's and not Valkey's: every metered operation needs PostgreSQL anyway, so a check adds no way
to fail and no second truth that a restart could lose (docs/decisions/quotas.md).
"""

import logging
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, replace
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
ASK_AGAIN = 0.5  # seconds after a refusal in which nobody asks
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
    """What this process holds for a subject. `owed` was used without a grant, and is counted with the next question."""

    answer: Answer
    stamp: Hashable
    until: float
    used_at: float
    tokens: int = 0
    owed: int = 0
    refused_until: float = 0.0


@dataclass(slots=True)  # made for every check: frozen would take three times as long
class Taken:
    """Units taken: from a lease, or (`lease` is None) in the transaction under way, whose end decides about them."""

    answer: Answer
    is_allowed: bool  # a write may go on; a read always may
    remaining: int | None  # for everybody, as far as this process knows; None without caps
    units: int = 0
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
        owed = 0
        if lease is not None and not is_inside:
            with self._lock:
                owed, lease.owed = lease.owed, 0
        try:
            answer = ask(subject, units, owed=owed, is_write=is_write, is_queued=is_queued)
        except (DatabaseError, MissingCounter):
            if lease is not None:
                with self._lock:
                    lease.owed += owed
            raise
        if lease is not None and not answer.counters:  # it was told before anything was counted
            with self._lock:
                lease.owed += owed
        is_allowed = answer.state in {"free", "granted"}
        taken = units if answer.state == "granted" else 0
        if not is_inside and (answer.may_keep or not is_write):
            return self._keep(subject, answer, taken, stamp, is_allowed=is_allowed)
        if answer.may_keep:

            def keep() -> None:
                self._keep(subject, answer, taken, stamp, is_allowed=is_allowed)

            # What is left over counts once the transaction has ended well: the counters go back with it if it does not.
            transaction.on_commit(keep)
        rest = None if answer.rest is None else max(0, answer.rest + answer.granted - taken)
        return Taken(answer, is_allowed, rest, taken)

    def _keep(self, subject: Subject, answer: Answer, taken: int, stamp: Hashable, *, is_allowed: bool) -> Taken:
        now = time.monotonic()
        # where writes must ask each time, reads ask twice a second, and owe what they use in between
        must_ask = answer.state == "full" or not answer.may_keep
        until = now + min(KEPT if answer.may_keep else ASK_AGAIN, answer.ends_at - time.time())
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
            lease.answer, lease.until, lease.used_at = answer, until, now
            lease.tokens += answer.granted - taken
            lease.refused_until = now + ASK_AGAIN if must_ask else 0.0
            rest = None if answer.rest is None else max(0, answer.rest + lease.tokens)
            return Taken(answer, is_allowed, rest, taken, lease)

    def put_back(self, subject: Subject, taken: Taken) -> None:
        """Undo a take whose operation did not happen. What a transaction took goes back with it."""
        if taken.lease is None or not taken.units:
            return
        with self._lock:
            if self._held.get(subject) is taken.lease:
                taken.lease.tokens += taken.units
            else:  # it has been given back meanwhile: this is a small one of its own
                stray = replace(taken.lease, tokens=taken.units, owed=0)
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
                if lease.until <= now or (lease.used_at + idle <= now and (lease.tokens or lease.owed))
            ]
            dropped = self._dropped + [(subject, self._held.pop(subject)) for subject in ended]
            self._dropped = []
        returned = 0
        for subject, lease in dropped:
            units = lease.tokens - lease.owed
            if units and now < lease.until + TOO_LATE:
                call = SqlCall("quotas_give_back", (list(lease.answer.counters), units))
                try:
                    one_trip(subject.organization_id, call)
                except DatabaseError:
                    log.exception("quotas.not_given_back organization=%s units=%d", subject.organization_id, units)
                else:
                    returned += units
        return returned

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
        return Taken(answer, True, max(0, answer.rest + lease.tokens), units, lease)
    if lease.refused_until > now:
        if not is_write:
            lease.owed += units
        return Taken(answer, False, max(0, answer.rest + lease.tokens), 0, lease)
    return None


def ask(subject: Subject, units: int, *, owed: int = 0, is_write: bool, is_queued: bool) -> Answer:
    """One question to the counters. Raises MissingCounter."""
    [row] = one_trip(
        subject.organization_id,
        SqlCall(
            "quotas_take",
            (
                subject.project_id,
                subject.key_id,
                subject.allowance.value,
                units,
                owed,
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
