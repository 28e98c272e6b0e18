"""Lets end users in: the first write of each in a billing period, where the plan or the customer limits how many.

Whoever has written is let in for the period, and remembered by each process: later writes ask nothing. Reads neither
ask nor let in.
"""

import logging
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from billing.metering.meters import Meter
from billing.metering.services import Use
from capsule_cloud.memory.limits import is_storable
from capsule_cloud.memory.services.sessions import DEFAULT_USER
from tenancy.scope import SqlCall, one_trip

KEPT = 60.0  # seconds that nobody is counted, unless the limits change
MOST_KNOWN = 50_000  # names, of all organizations: about 10 MB
WRITES = frozenset({Meter.INGEST, Meter.SEAL, Meter.IMPORT, Meter.WRITE})
log = logging.getLogger("quotas")


@dataclass(frozen=True, slots=True)
class Entry:
    """What `quotas_enter` says: free, nobody, known, new, full, or queued behind earlier writes of the same end user.

    `rest` is how many more are let in; `amount` and `reaction` are of the tightest limit that stops or parks.
    """

    organization_id: UUID
    state: str
    person: UUID | None
    rest: int | None
    ends_at: float  # Unix seconds
    is_throttled: bool
    amount: int | None
    reaction: str | None
    is_inside: bool = False  # a transaction under way let them in, and its end decides

    @property
    def is_allowed(self) -> bool:
        """Whether the write may go on."""
        return self.state not in {"full", "queued"}


@dataclass(slots=True)
class _Known:
    """What this process knows of an organization until `until`: that nobody is counted, or who is in."""

    stamp: Hashable
    until: float  # Unix seconds
    is_free: bool = False
    people: set[tuple[UUID, str, str]] = field(default_factory=set)


class EndUsers:
    """Who is in, as far as this process knows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[UUID, _Known] = {}
        self._count = 0

    def enter(self, use: Use, *, stamp: Hashable, session_id: str = "", is_queued: bool = False) -> Entry | None:
        """Let the use's end user in, without a name the owner of the session; None: known, or nobody is counted.

        `stamp` changes with the limits; without one nothing is remembered. Give `leave` an entry whose write failed.
        """
        who = (use.project_id, use.end_user, "" if use.end_user else session_id)
        if not (use.end_user or session_id):
            return None
        known = self._of.get(use.organization_id)
        is_fresh = known is not None and known.stamp == stamp and known.until > time.time()
        if known is not None and is_fresh and (known.is_free or who in known.people):
            return None
        if not is_storable(use.end_user or session_id):
            return None  # the write will be refused for it
        entry = _ask(use, session_id, is_queued=is_queued)
        if stamp is not None and entry.state in {"free", "known"}:
            self._remember(use.organization_id, who, stamp, entry)
        return entry

    def _remember(self, organization_id: UUID, who: tuple[UUID, str, str], stamp: Hashable, entry: Entry) -> None:
        is_free = entry.state == "free"
        with self._lock:
            known = self._of.get(organization_id)
            if self._count >= MOST_KNOWN or len(self._of) >= MOST_KNOWN:
                self._of, self._count, known = {}, 0, None
            if known is None or known.stamp != stamp or known.until <= time.time() or known.is_free != is_free:
                until = min(time.time() + KEPT, entry.ends_at) if is_free else entry.ends_at
                self._count -= 0 if known is None else len(known.people)
                known = self._of[organization_id] = _Known(stamp, until, is_free)
            if not is_free and who not in known.people:
                known.people.add(who)
                self._count += 1

    def leave(self, entry: Entry) -> None:
        """Take back who was let in for a write that did not happen. What a transaction did goes back with it.

        Where that fails they stay counted until the period ends: too many are never let in.
        """
        if entry.state != "new" or entry.is_inside:
            return
        try:
            one_trip(entry.organization_id, SqlCall("quotas_leave", (entry.person,)))
        except DatabaseError:
            log.exception("quotas.not_left organization=%s", entry.organization_id)

    def forget(self) -> None:
        """Know nothing any more."""
        with self._lock:
            self._of, self._count = {}, 0


def _ask(use: Use, session_id: str, *, is_queued: bool) -> Entry:
    is_inside = connections[DEFAULT_DB_ALIAS].in_atomic_block
    default = DEFAULT_USER if use.meter is Meter.INGEST else None  # an ingest opens its session
    call = SqlCall("quotas_enter", (use.project_id, use.end_user or None, session_id, default, is_queued))
    [(state, person, rest, ends_at, is_throttled, amount, reaction)] = one_trip(use.organization_id, call)
    return Entry(
        organization_id=use.organization_id,
        state=state,
        person=person,
        rest=rest,
        ends_at=ends_at,
        is_throttled=is_throttled,
        amount=amount,
        reaction=reaction,
        is_inside=is_inside,
    )


end_users = EndUsers()
