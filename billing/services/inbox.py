"""Keeps Stripe's events: stores each once, hands them to workers, gives up after ten attempts, starts them again."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.db import connection
from django.db.models import F
from django.utils import timezone

from billing.models import StripeEvent
from tenancy.scope import preparing_cursor

CLAIM = timedelta(minutes=2)  # longer than a fetch may take: 10 s a try, three tries, and what waits before it
MOST_ATTEMPTS = 10
LONGEST_WAIT = timedelta(hours=6)
KEPT_FOR = timedelta(days=90)
LONGEST_ERROR = 2000
log = logging.getLogger("billing")


class NoEvent(Exception):
    """This is no event of Stripe's: something that every event has is missing. A retry does not help."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Events about one object, held until a while after `at`: what is fetched later than `at` is as new as them all.

    `at` is the database's clock, so that claims of different machines can be compared.
    """

    kind: str
    object_id: str
    at: datetime
    events: tuple[int, ...]  # primary keys
    newest: dict[str, Any]  # the object as the latest of them had it, for what cannot be fetched


def receive(event: dict[str, Any]) -> bool:
    """Store an event whose origin is certain; whether it was new. One statement. Raises NoEvent."""
    try:
        about = event["data"]["object"]
        row = (
            _text(event["id"]),
            _text(event["type"]),
            _text(about["object"]),
            _text(about.get("id") or ""),
            _text(event.get("account") or ""),
            bool(event["livemode"]),
            _text(event["api_version"]),
            orjson.dumps(event).decode(),
            datetime.fromtimestamp(event["created"], UTC),
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, OSError):
        raise NoEvent("An event has an id, a type, a time, a version and an object.") from None
    with preparing_cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_stripeevent (event_id, type, object_kind, object_id, account, livemode, api_version, "
            "body, occurred_at, status, attempts, error, due_at, received_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 'new', 0, '', now(), now()) ON CONFLICT (event_id) DO NOTHING",
            row,
        )
        return bool(cursor.rowcount)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 255:
        raise TypeError
    return value


def claim(limit: int = 20) -> list[Claim]:
    """Take due events, together with every other one about the same object: one fetch serves them all.

    Nobody else gets them for two minutes. Events of one object that another worker holds stay where they are. An event
    whose workers died ten times is given up.
    """
    now = timezone.now()
    lost = StripeEvent.objects.filter(status=StripeEvent.Status.NEW, attempts__gte=MOST_ATTEMPTS, claimed_until__lt=now)
    lost.update(status=StripeEvent.Status.DEAD, claimed_until=None, error="Every worker that took it died.")
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH due AS (
                SELECT id, object_kind, object_id FROM billing_stripeevent
                WHERE status = 'new' AND due_at <= %s AND (claimed_until IS NULL OR claimed_until < %s)
                ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
            ), objects AS (
                SELECT DISTINCT object_kind, object_id FROM due WHERE object_id <> ''
            ), together AS (
                SELECT e.id FROM billing_stripeevent e JOIN objects USING (object_kind, object_id)
                WHERE e.status = 'new' AND e.due_at <= %s AND (e.claimed_until IS NULL OR e.claimed_until < %s)
                FOR UPDATE OF e SKIP LOCKED
            )
            UPDATE billing_stripeevent e
            SET claimed_until = clock_timestamp() + make_interval(secs => %s), attempts = e.attempts + 1
            WHERE e.id IN (SELECT id FROM due UNION SELECT id FROM together)
            RETURNING e.id, e.object_kind, e.object_id, e.event_id,
                e.claimed_until - make_interval(secs => %s), e.occurred_at, e.body -> 'data' -> 'object'""",
            [now, now, limit, now, now, CLAIM.total_seconds(), CLAIM.total_seconds()],
        )
        rows = cursor.fetchall()
    claims: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for row in sorted(rows, key=lambda row: (row[5], row[0])):
        claims.setdefault((row[1], row[2] or row[3]), []).append(row)
    return [
        Claim(kind, of[0][2], min(row[4] for row in of), tuple(row[0] for row in of), orjson.loads(of[-1][6]))
        for (kind, _), of in claims.items()
    ]


def finish(events: Collection[int]) -> None:
    """The events are dealt with: in the transaction of what they led to."""
    StripeEvent.objects.filter(pk__in=events).update(
        status=StripeEvent.Status.DONE, done_at=timezone.now(), claimed_until=None, error=""
    )


def fail(events: Collection[int], error: str, *, after: timedelta | None = None) -> None:
    """The events could not be dealt with: try them again later, twice as late each time; the tenth time give up.

    `after` is how long Stripe asked to be left alone.
    """
    for event in StripeEvent.objects.filter(pk__in=events):
        wait = max(after or timedelta(0), min(timedelta(seconds=5) * 2**event.attempts, LONGEST_WAIT))
        is_dead = event.attempts >= MOST_ATTEMPTS
        event.status = StripeEvent.Status.DEAD if is_dead else StripeEvent.Status.NEW
        event.error = error[:LONGEST_ERROR]
        event.due_at = timezone.now() + wait
        event.claimed_until = None
        event.save(update_fields=["status", "error", "due_at", "claimed_until"])
        if is_dead:
            log.error("stripe.event_dead event=%s type=%s", event.event_id, event.type)


def postpone(events: Collection[int], error: str, *, after: timedelta) -> None:
    """Stripe is away: the events wait, and the attempt does not count against them."""
    StripeEvent.objects.filter(pk__in=events).update(
        due_at=timezone.now() + after,
        claimed_until=None,
        attempts=F("attempts") - 1,
        error=error[:LONGEST_ERROR],
    )


def replay(event_id: str) -> bool:
    """Deal with one event again, whatever became of it; whether there is such an event."""
    return bool(_again(StripeEvent.objects.filter(event_id=event_id)))


def replay_dead() -> int:
    """Start again every event that was given up; how many there are."""
    return _again(StripeEvent.objects.filter(status=StripeEvent.Status.DEAD))


def _again(events: Any) -> int:
    changed: int = events.update(
        status=StripeEvent.Status.NEW, attempts=0, due_at=timezone.now(), claimed_until=None, done_at=None
    )
    return changed


def forget_old() -> int:
    """Delete events that were dealt with 90 days ago: their bodies hold names and addresses. How many there were."""
    old = StripeEvent.objects.filter(status=StripeEvent.Status.DONE, done_at__lt=timezone.now() - KEPT_FOR)
    return old.delete()[0]
