"""Reads streams of the organization in scope, how far behind they are, and their logs."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.utils import timezone

from tenancy.audit.sealing import selectors as sealed
from tenancy.audit.sealing.models import Leaf
from tenancy.audit.streams.models import DeadLetter, Delivery, Stream
from tenancy.errors import NotFound
from tenancy.webhooks import signing

MOST_COUNTED = 1_000


@dataclass(frozen=True, slots=True)
class Health:
    """A stream and its lag: sealed events that it has not been sent, and when the first of them was recorded."""

    stream: Stream
    behind: int
    behind_since: datetime | None
    set_aside: int

    @property
    def seconds_behind(self) -> float:
        """How old the first of them is; 0 where it has been sent all."""
        return max((timezone.now() - self.behind_since).total_seconds(), 0.0) if self.behind_since else 0.0

    @property
    def public_key(self) -> str:
        """What verifies the asymmetric signature of a webhook; nothing for others."""
        keys = self.stream.sealed_keys
        return signing.unseal(bytes(keys)).public_text if keys else ""


def streams() -> list[Health]:
    """Every stream, the oldest first."""
    return _health(list(Stream.objects.order_by("id")))


def stream(stream_id: UUID) -> Health:
    """One stream. Raises NotFound."""
    return _health([found(stream_id)])[0]


def found(stream_id: UUID) -> Stream:
    """One stream alone. Raises NotFound."""
    row = Stream.objects.filter(pk=stream_id).first()
    if row is None:
        raise NotFound("There is no such stream.")
    return row


def deliveries(
    *, stream_id: UUID, has_arrived: bool | None = None, before: UUID | None = None, limit: int = 50
) -> list[Delivery]:
    """The newest attempts."""
    rows = Delivery.objects.filter(stream_id=stream_id).order_by("-id")
    if has_arrived is not None:
        rows = rows.filter(has_arrived=has_arrived)
    if before is not None:
        rows = rows.filter(id__lt=before)
    return list(rows[:limit])


def dead_letters(*, stream_id: UUID, before: UUID | None = None, limit: int = 50) -> list[DeadLetter]:
    """The events that were set aside, the newest first."""
    rows = DeadLetter.objects.filter(stream_id=stream_id).order_by("-id")
    if before is not None:
        rows = rows.filter(id__lt=before)
    return list(rows[:limit])


def dead_letter(letter_id: UUID) -> DeadLetter:
    """One of them, with its stream. Raises NotFound."""
    row = DeadLetter.objects.select_related("stream").filter(pk=letter_id).first()
    if row is None:
        raise NotFound("There is no such event set aside.")
    return row


def _health(rows: list[Stream]) -> list[Health]:
    size = sealed.sealed_size()
    waiting = Leaf.objects.filter(seq__in={row.next_seq for row in rows}).values_list("seq", "event_id")
    recorded = {seq: datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC) for seq, event_id in waiting}
    return [
        Health(
            row,
            max(size - row.next_seq, 0),
            recorded.get(row.next_seq),
            DeadLetter.objects.filter(stream=row, resent_at=None)[:MOST_COUNTED].count(),
        )
        for row in rows
    ]
