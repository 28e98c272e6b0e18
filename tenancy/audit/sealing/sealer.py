"""The sealer: gives settled events their places, grows the trees, signs. One at a time; a batch is one transaction.

Nothing of it is on the way of whoever records an event. A sealer that is killed anywhere has done nothing of its batch.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from tenancy.audit.sealing import keys, notes, selectors
from tenancy.audit.sealing.merkle import EMPTY_ROOT, HASH_BYTES, Frontier, Node, leaf_hash, split
from tenancy.audit.sealing.models import Log
from tenancy.scope import Wide, unscoped

BATCH = 20_000  # events: about a second's work, and 20 MB
BUDGET = 20.0  # seconds that one call goes on for, if there is work
SETTLED = timedelta(minutes=10)  # whatever the cursor has not sealed by then, it has missed
LOOKED_BACK = timedelta(days=2)
LATE = 60.0  # seconds
Taken = list[dict[str, Any]]
log = logging.getLogger("audit.sealing")


def seal(*, budget: float = BUDGET, batch: int = BATCH) -> int:
    """Seal what is settled until nothing waits, or for `budget` seconds; returns how many events were.

    Where another sealer is at it, 0 at once. Whose tree is damaged is set aside. Raises crypto.Unreadable without a
    usable key.
    """
    ends_at = time.monotonic() + budget
    total = 0
    while True:
        with _sealing() as wide:
            taken = wide.rows("audit_sealing_take", batch)
            total += _grow(wide, taken)
        if _events(taken) < batch or time.monotonic() >= ends_at:
            return total


def log_checkpoint() -> str:
    """The signed checkpoint of the log of all, also as long as it is empty. Raises crypto.Unreadable."""
    state = Log.objects.get()
    if state.note:
        return state.note
    origin = _origin(state)
    return notes.signed(origin, notes.checkpoint_text(origin, 0, EMPTY_ROOT), keys.signers())


def watch() -> selectors.Lag:
    """Say in the log how far the sealer is behind, as an error when that is long."""
    lag = selectors.lag()
    if lag.seconds > LATE:
        log.error(
            "audit.sealing_late events=%d seconds=%.0f held_up=%.0f", lag.events, lag.seconds, lag.held_up_seconds
        )
    elif lag.events:
        log.info("audit.sealing_lag events=%d seconds=%.1f", lag.events, lag.seconds)
    return lag


def seal_missed(
    *, since: datetime | None = None, until: datetime | None = None, everything: bool = False, batch: int = BATCH
) -> int:
    """Seal what the cursor has passed without sealing it; returns how many events, which should be none.

    Of the last two days but for ten minutes, unless it is told otherwise. With `everything`, also what the cursor has
    not come to: after a restore, while nobody writes.
    """
    now = timezone.now()
    since, until = since or now - LOOKED_BACK, until or now - SETTLED
    total = 0
    aside: list[UUID] = []
    while True:
        with _sealing() as wide:
            taken = wide.rows("audit_sealing_take_missed", batch, since, until, everything, aside)
            total += _grow(wide, taken)
        aside += [row["organization_id"] for row in taken if row["frontier"] is None]
        if _events(taken) < batch:
            break
    if total and not everything:
        log.error("audit.sealing_missed events=%d", total)
    return total


def restart_after_restore() -> int:
    """Seal all that a restored dump holds, and begin anew with transaction numbers; returns how many events it sealed.

    A dump keeps the numbers of the server that it came from, and the new server's begin below. Nobody may write yet.
    """
    total = seal_missed(
        since=datetime(1970, 1, 1, tzinfo=UTC), until=timezone.now() + timedelta(days=1), everything=True
    )
    with unscoped(reason="the trail of every organization is sealed in one stream") as wide:
        wide.rows("audit_sealing_restart")
    return total


def reconcile(*, since: datetime | None = None) -> selectors.Differences:
    """Seal what was missed, compare events with leaves, and say as an error what has no partner afterwards."""
    seal_missed(since=since)
    found = selectors.differences(since or timezone.now() - LOOKED_BACK)
    if not found.is_none:
        log.error(
            "audit.sealing_differs events=%d leaves=%d unsealed=%d gone=%d",
            found.events,
            found.leaves,
            found.unsealed,
            found.gone,
        )
    return found


@contextmanager
def _sealing() -> Iterator[Wide]:
    """One batch: a transaction that looks across organizations."""
    with transaction.atomic(), unscoped(reason="the trail of every organization is sealed in one stream") as wide:
        yield wide


def _grow(wide: Wide, taken: Taken) -> int:
    """Grow the trees by the leaves that were just stored, sign their heads, and append those to the log of all.

    A damaged tree comes without its frontier, and none of its leaves were stored: it is said, and set aside.
    """
    for row in taken:
        if row["frontier"] is None:
            log.error("audit.sealing_set_aside organization=%s events=%d", row["organization_id"], _events([row]))
    taken = [row for row in taken if row["frontier"] is not None]
    if not taken:
        return 0
    signers = keys.signers()
    state = Log.objects.get()
    origin = _origin(state)
    sizes, frontiers, roots, written, entries = [], [], [], [], []
    nodes: list[tuple[UUID, Node]] = []
    events = 0
    for row in taken:
        tree = Frontier.load(row["size"], bytes(row["frontier"]))
        nodes += [(row["organization_id"], node) for node in tree.extend(split(bytes(row["hashes"])))]
        name = selectors.origin_of(origin, row["organization_id"])
        text = notes.checkpoint_text(name, tree.size, tree.root)
        sizes.append(tree.size)
        frontiers.append(tree.packed)
        roots.append(tree.root)
        written.append(notes.signed(name, text, signers))
        entries.append(leaf_hash(text.encode()))
        events += tree.size - row["size"]
    whole = Frontier.load(state.size, bytes(state.frontier))
    above = whole.extend(entries)
    wide.rows(
        "audit_sealing_put",
        [row["organization_id"] for row in taken],
        sizes,
        frontiers,
        roots,
        written,
        [organization_id for organization_id, _ in nodes],
        [node.level for _, node in nodes],
        [node.place for _, node in nodes],
        [node.hash for _, node in nodes],
        entries,
        whole.packed,
        notes.signed(origin, notes.checkpoint_text(origin, whole.size, whole.root), signers),
        origin,
        [node.level for node in above],
        [node.place for node in above],
        [node.hash for node in above],
    )
    log.debug("audit.sealed events=%d organizations=%d", events, len(taken))
    return events


def _events(taken: Taken) -> int:
    return sum(len(row["hashes"]) for row in taken) // HASH_BYTES


def _origin(state: Log) -> str:
    return state.origin or f"{settings.PUBLIC_HOST}/audit"
