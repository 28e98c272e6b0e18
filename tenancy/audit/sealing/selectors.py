"""Reads what proves the trail: of the organization in scope, and of the log of all."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from tenancy.audit.sealing.merkle import Tree
from tenancy.audit.sealing.models import Checkpoint, Leaf, Log, LogEntry, LogNode, Node, TreeHead
from tenancy.scope import current_organization_id, unscoped


class NotSealed(Exception):
    """The event, or the tree's size, is not there (yet): within a second or two of an event's recording, try again."""


@dataclass(frozen=True, slots=True)
class Proved:
    """A leaf, its proof in a checkpoint's tree, the lowest hash first, and the checkpoint."""

    index: int
    event_id: UUID | None
    leaf: bytes
    hashes: list[bytes]
    size: int
    note: str


@dataclass(frozen=True, slots=True)
class Lag:
    """How much waits for its seal (counted up to 100,000), for how long, and how old the oldest transaction is."""

    events: int
    seconds: float
    held_up_seconds: float


@dataclass(frozen=True, slots=True)
class Differences:
    """Of a span of time: events that the sealer has passed, leaves, and how many of each have no partner."""

    events: int
    leaves: int
    unsealed: int
    gone: int

    @property
    def is_none(self) -> bool:
        """Whether every event has its leaf, and every leaf its event."""
        return not self.unsealed and not self.gone


def origin_of(origin: str, organization_id: UUID) -> str:
    """The name of an organization's log, as its checkpoints have it."""
    return f"{origin}/{organization_id}"


# --- The organization in scope ---


def sealed_size() -> int:
    """How many events are sealed: they have the places from 0 up to there."""
    return TreeHead.objects.values_list("size", flat=True).first() or 0


def latest_checkpoint() -> Checkpoint | None:
    """The newest one; None as long as nothing is sealed."""
    return Checkpoint.objects.order_by("-size").first()


def checkpoint_at(size: int) -> Checkpoint | None:
    """The one that was signed at exactly that size."""
    return Checkpoint.objects.filter(size=size).first()


def leaves(first: int, count: int) -> list[Leaf]:
    """Those of the places [first, first + count) that there are, in their order."""
    return list(Leaf.objects.filter(seq__gte=first, seq__lt=first + count).order_by("seq"))


def tree(size: int | None = None) -> Tree:
    """The organization's tree, of `size` leaves or whole. Raises NotSealed when it is not as large."""
    whole = sealed_size()
    if size is not None and not 0 <= size <= whole:
        raise NotSealed(f"{whole} events are sealed.")
    return Tree(whole if size is None else size, _read)


def root_at(size: int) -> bytes:
    """The root when so many events were sealed. Raises NotSealed."""
    return tree(size).root


def inclusion_proof(event_id: UUID, size: int | None = None) -> Proved:
    """That the event is in the newest checkpoint's tree, or in that of a checkpoint's `size`. Raises NotSealed."""
    leaf = Leaf.objects.filter(event_id=event_id).first()
    checkpoint = latest_checkpoint() if size is None else checkpoint_at(size)
    if leaf is None or checkpoint is None or leaf.seq >= checkpoint.size:
        raise NotSealed("The event is not sealed, or not in that checkpoint.")
    hashes = tree(checkpoint.size).inclusion(leaf.seq)
    return Proved(leaf.seq, leaf.event_id, bytes(leaf.hash), hashes, checkpoint.size, checkpoint.note)


def consistency_proof(old: int, new: int) -> list[bytes]:
    """That the tree of `new` events begins with that of `old`. Raises NotSealed."""
    if not 0 <= old <= new:
        raise NotSealed("The older size comes first.")
    return tree(new).consistency(old)


def _read(level: int, first: int, count: int) -> list[bytes]:
    if level:
        nodes = Node.objects.filter(level=level, place__gte=first, place__lt=first + count).order_by("place")
        return [bytes(one) for one in nodes.values_list("hash", flat=True)]
    found = Leaf.objects.filter(seq__gte=first, seq__lt=first + count).order_by("seq")
    return [bytes(one) for one in found.values_list("hash", flat=True)]


# --- The log of all ---


def log_head() -> Log:
    """The log of all organizations' checkpoints, with its own."""
    return Log.objects.get()


def log_proof(checkpoint: Checkpoint) -> Proved:
    """That a checkpoint of the organization in scope is in the log of all, as that stands now."""
    log = log_head()
    whole = Tree(log.size, _read_log)
    [leaf] = _read_log(0, checkpoint.entry, 1)
    return Proved(checkpoint.entry, None, leaf, whole.inclusion(checkpoint.entry), log.size, log.note)


def log_consistency(old: int, new: int | None = None) -> list[bytes]:
    """That the log of all with `new` entries (or as it is) begins with that of `old`. Raises NotSealed."""
    whole = log_head().size
    if not 0 <= old <= (whole if new is None else new) <= whole:
        raise NotSealed(f"The log of all has {whole} entries.")
    return Tree(whole, _read_log).consistency(old, new)


def _read_log(level: int, first: int, count: int) -> list[bytes]:
    if level:
        nodes = LogNode.objects.filter(level=level, place__gte=first, place__lt=first + count).order_by("place")
        return [bytes(one) for one in nodes.values_list("hash", flat=True)]
    found = LogEntry.objects.filter(place__gte=first, place__lt=first + count).order_by("place")
    return [bytes(one) for one in found.values_list("hash", flat=True)]


# --- Across organizations ---


def lag() -> Lag:
    """How far the sealer is behind, and the age of the oldest open transaction of ours, which may be why."""
    with unscoped(reason="the trail of every organization is sealed in one stream") as wide:
        [waiting] = wide.rows("audit_sealing_waiting")
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(xact_start) FROM pg_stat_activity WHERE backend_xid IS NOT NULL")
        [(oldest,)] = cursor.fetchall()
    return Lag(waiting["events"], _seconds_since(waiting["since"]), _seconds_since(oldest))


def differences(since: datetime, until: datetime | None = None) -> Differences:
    """Compare the events that were recorded in a span of time with the leaves, for everybody."""
    with unscoped(reason="the trail of every organization is sealed in one stream") as wide:
        [row] = wide.rows("audit_sealing_differences", since, until or timezone.now())
    return Differences(**row)


def set_aside(since: datetime) -> dict[UUID, int]:
    """Whose events cannot be sealed because their tree is damaged, and how many of them were recorded since."""
    with unscoped(reason="the trail of every organization is sealed in one stream") as wide:
        rows = wide.rows("audit_sealing_aside", since, timezone.now())
    return {row["organization_id"]: row["events"] for row in rows}


def organization_origin() -> str:
    """The name of the log of the organization in scope. Raises NotSealed before there is any."""
    origin = log_head().origin
    if not origin:
        raise NotSealed("Nothing is sealed yet.")
    return origin_of(origin, current_organization_id())


def _seconds_since(moment: Any) -> float:
    return 0.0 if moment is None else max(0.0, (timezone.now() - moment).total_seconds())
