"""Reads what comes next for a stream: sealed events, their hashes, and what ties them to a signed checkpoint."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tenancy.audit import people
from tenancy.audit.models import AuditEvent
from tenancy.audit.ocsf import ocsf
from tenancy.audit.sealing import selectors as sealed
from tenancy.audit.sealing.merkle import cover
from tenancy.audit.sealing.models import Checkpoint, Leaf
from tenancy.audit.streams.models import Stream

MOST_EVENTS, MOST_BYTES = 500, 1_000_000  # of a batch; a single event may be larger
STORE_EVENTS, STORE_BYTES = 5_000, 8_000_000  # of a file
MOST_LEFT_OUT = 1_000_000  # places at once whose events have left: looking at so many takes a fraction of a second
Json = dict[str, Any]
Nodes = tuple[tuple[int, bytes], ...]  # (level, hash) of whole subtrees, from left to right


@dataclass(frozen=True, slots=True)
class Line:
    """One event with its place, and what its pseudonyms stand for where that is wanted."""

    seq: int
    hash: bytes
    event: AuditEvent
    names: Mapping[str, str] | None
    has_ocsf: bool

    @property
    def envelope(self) -> Json:
        """What a target gets of it: `body` is what is hashed, to the byte."""
        content: Json = {
            "seq": self.seq,
            "id": str(self.event.pk),
            "recorded_at": self.event.content["recorded_at"],
            "action": self.event.action,
            "leaf": self.hash.hex(),
            "body": self.event.body,
        }
        if self.names is not None:
            content["people"] = {name: value for name, value in self.names.items() if name in self.event.body}
        if self.has_ocsf:
            content["ocsf"] = self.ocsf
        return content

    @property
    def ocsf(self) -> Json:
        """The event in OCSF's words, with names where they are wanted."""
        if self.names is not None:
            self.event.reveal(people.revealed(self.event.body, self.names))
        return ocsf(self.event)


@dataclass(frozen=True)
class Batch:
    """Events [first, end) without a gap, and the hashes that make the checkpoint's root of theirs.

    Without lines, the events of these places have left by their retention: there is nothing to send.
    """

    first: int
    end: int
    lines: Sequence[Line]
    names: Mapping[str, str]
    checkpoint: Checkpoint
    before: Nodes
    after: Nodes
    has_more: bool  # whether others follow that are sealed already

    @property
    def count(self) -> int:
        """How many places."""
        return self.end - self.first

    @cached_property
    def proof(self) -> Json:
        """For a receiver, who folds `before`, the leaves and `after` into the root that the checkpoint signs."""
        return {
            "first": self.first,
            "count": self.count,
            "size": self.checkpoint.size,
            "checkpoint": self.checkpoint.note,
            "before": _plain(self.before),
            "after": _plain(self.after),
        }


def next_batch(stream: Stream) -> Batch | None:
    """What comes next for a stream of the organization in scope; None when nothing does."""
    most, size = (STORE_EVENTS, STORE_BYTES) if stream.is_store else (MOST_EVENTS, MOST_BYTES)
    most = min(most, stream.most_events or most)
    return _batch(stream, stream.next_seq, most, size, is_store=stream.is_store)


def batch_of(stream: Stream, seq: int) -> Batch | None:
    """One event alone, by its place; None when it is not there."""
    found = _batch(stream, seq, 1, 1, is_store=True)
    return found if found and found.lines else None


def _batch(stream: Stream, first: int, most: int, most_bytes: int, *, is_store: bool) -> Batch | None:
    whole = sealed.latest_checkpoint()
    if whole is None or whole.size <= first:
        return None
    end = min(first + most, whole.size)
    inside = Checkpoint.objects.filter(size__gt=first, size__lte=end).order_by("-size").first()
    if inside is not None and not is_store:
        end = inside.size  # so that the batch ends as a checkpoint does, and its proof needs nothing after it
    leaves = sealed.leaves(first, end - first)
    events = {one.pk: one for one in AuditEvent.objects.filter(pk__in=[leaf.event_id for leaf in leaves])}
    chosen, has_bodies = _run(leaves, events, most_bytes)
    end = first + len(chosen) if has_bodies else max(first + len(chosen), _next_body(first, whole.size))
    checkpoint = whole if is_store else Checkpoint.objects.filter(size__gte=end).order_by("size").first() or whole
    if not has_bodies:
        return Batch(first, end, (), {}, checkpoint, (), (), has_more=True)
    found = [events[leaf.event_id] for leaf in chosen]
    names = people.names_in(one.body for one in found) if stream.has_people else {}
    lines = [
        Line(leaf.seq, bytes(leaf.hash), event, names if stream.has_people else None, stream.has_ocsf)
        for leaf, event in zip(chosen, found, strict=True)
    ]
    tree = sealed.tree(checkpoint.size)
    before = tuple((level, tree.subtree(level, index)) for level, index in cover(0, first))
    after = tuple((level, tree.subtree(level, index)) for level, index in cover(end, checkpoint.size))
    return Batch(first, end, lines, names, checkpoint, before, after, has_more=end < whole.size)


def _next_body(first: int, size: int) -> int:
    """The first place from there on whose event may still be here: all before it have left by their retention.

    What is old goes first, so nothing is here that is older than the oldest event that is.
    """
    end = min(first + MOST_LEFT_OUT, size)
    oldest = AuditEvent.objects.order_by("id").values_list("id", flat=True).first()
    if oldest is None:
        return end
    here = Leaf.objects.filter(seq__gte=first, seq__lt=end, event_id__gte=oldest)
    found = here.order_by("seq").values_list("seq", flat=True).first()
    return end if found is None else found


def _run(leaves: Sequence[Leaf], events: Mapping[Any, AuditEvent], most_bytes: int) -> tuple[list[Leaf], bool]:
    """The leaves from the first on that all have their events, or all have none any more; and which."""
    has_bodies = leaves[0].event_id in events
    chosen: list[Leaf] = []
    total = 0
    for leaf in leaves:
        event = events.get(leaf.event_id)
        if (event is not None) != has_bodies:
            break
        total += len(event.body) if event else 0
        if chosen and total > most_bytes:
            break
        chosen.append(leaf)
    return chosen, has_bodies


def _plain(nodes: Nodes) -> list[list[Any]]:
    return [[level, base64.b64encode(node).decode()] for level, node in nodes]
