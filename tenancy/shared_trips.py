"""Takes the round trips of several callers of one organization in one statement: one transaction, one flush to disk."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import DatabaseError, OperationalError

from tenancy.scope import Each, OfFirst, SqlCall, one_trip

MOST = 8  # callers in one statement
TOGETHER = "_together"
UNDONE = frozenset({"55P03", "40P01"})  # lock_not_available, deadlock_detected: PostgreSQL gave up waiting


class NotTogether(Exception):
    """PostgreSQL refused the callers' calls, and nothing has happened: `one_trip` says what becomes of each alone."""


@dataclass(slots=True)
class _Passenger:
    """A caller: leads the trip, or sleeps until its leader wakes it with a result, an error, or the lead."""

    calls: tuple[SqlCall, ...]
    apart: Any
    bell: threading.Lock = field(default_factory=threading.Lock)
    row: tuple[Any, ...] | None = None
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.bell.acquire()


_waiting: dict[Any, list[_Passenger]] = {}  # by what may share a statement; there is an entry while somebody leads
_lock = threading.Lock()


def shared_trip(organization_id: UUID, *calls: SqlCall, apart: Any) -> tuple[Any, ...]:
    """As `one_trip` of functions whose first gives one row, maybe together with other threads' calls.

    Each function has a twin named `…_together` that takes an array for each parameter and gives one row of arrays, and
    that is what runs, for one caller too. Those of the same `apart` never share a statement. What one of the callers
    cannot do none of them does: raises NotTogether. It returns after the commit. Not for use in a transaction.
    """
    me = _Passenger(calls, apart)
    key = (organization_id, *(call.function for call in calls))
    with _lock:
        queue = _waiting.get(key)
        if queue is None:
            _waiting[key] = [me]
        else:
            queue.append(me)
    if queue is not None:
        me.bell.acquire()  # until a leader has brought an answer, or hands over
    if me.row is None and me.error is None:
        _lead(organization_id, key)
    if me.error is not None:
        raise me.error
    assert me.row is not None  # noqa: S101  # as the leader left it
    return me.row


def _lead(organization_id: UUID, key: Any) -> None:
    """Travel with those who wait, the first of whom is the caller, and hand the lead to the next."""
    queue = _waiting[key]
    _let_arrive(queue)
    with _lock:
        party = _party(queue)
    try:
        _travel(organization_id, party)
    finally:
        with _lock:
            if not queue:
                del _waiting[key]
        for one in party[1:]:
            one.bell.release()
        if queue:
            queue[0].bell.release()


def _let_arrive(queue: list[_Passenger]) -> None:
    """Let the other threads run for a moment, as long as that brings somebody."""
    before = 0
    while before < len(queue) < MOST:
        before = len(queue)
        time.sleep(0)


def _party(queue: list[_Passenger]) -> list[_Passenger]:
    """Take from the queue who may travel together."""
    party: list[_Passenger] = []
    apart = set()
    for one in list(queue):
        if one.apart not in apart:
            apart.add(one.apart)
            party.append(one)
            queue.remove(one)
            if len(party) == MOST:
                break
    return party


def _travel(organization_id: UUID, party: list[_Passenger]) -> None:
    try:
        [columns] = one_trip(organization_id, *_together(party))
    except BaseException as error:  # noqa: BLE001  # every caller raises it
        for one in party:
            one.error = NotTogether() if _has_not_happened(error) else error
    else:
        for one, row in zip(party, zip(*columns, strict=True), strict=True):
            one.row = row


def _has_not_happened(error: BaseException) -> bool:
    """Whether PostgreSQL has surely undone the statement: not when it was the connection that broke."""
    if not isinstance(error, DatabaseError):
        return False
    return not isinstance(error, OperationalError) or getattr(error.__cause__, "sqlstate", None) in UNDONE


def _together(party: list[_Passenger]) -> list[SqlCall]:
    return [
        SqlCall(alike[0].function + TOGETHER, tuple(map(_each, zip(*(call.params for call in alike), strict=True))))
        for alike in zip(*(one.calls for one in party), strict=True)
    ]


def _each(params: tuple[Any, ...]) -> Each | OfFirst:
    return params[0] if isinstance(params[0], OfFirst) else Each(params)
