"""Reads endpoints of the organization in scope, how they fare, and their log."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection

from tenancy.errors import NotFound
from tenancy.webhooks import signing
from tenancy.webhooks.models import Attempt, Delivery, Endpoint

SHOWN_STATES = (Endpoint.State.ACTIVE, Endpoint.State.PAUSED, Endpoint.State.DISABLED)
RECENT = 100  # attempts that a rate is made of
MOST_COUNTED = 10_000  # of what waits: a longer queue is counted no further

_HEALTH = """
    SELECT e.id, w.waiting, w.oldest, r.recent, r.arrived
    FROM webhooks_endpoint e
    CROSS JOIN LATERAL (
        SELECT count(*) AS waiting, min(q.created_at) AS oldest FROM (
            SELECT d.created_at FROM webhooks_delivery d
            WHERE d.endpoint_id = e.id AND d.state = 'pending' AND d.number > 0 ORDER BY d.number LIMIT %s
        ) q
    ) w
    CROSS JOIN LATERAL (
        SELECT count(*) AS recent, count(*) FILTER (WHERE q.has_arrived) AS arrived FROM (
            SELECT a.has_arrived FROM webhooks_attempt a
            WHERE a.organization_id = e.organization_id AND a.endpoint_id = e.id ORDER BY a.id DESC LIMIT %s
        ) q
    ) r
    WHERE e.id = ANY (%s)
"""


@dataclass(frozen=True, slots=True)
class Health:
    """How an endpoint fares: what waits and since when, and how many of its last attempts arrived."""

    endpoint: Endpoint
    waiting: int
    oldest_at: datetime | None
    recent: int
    arrived: int

    @property
    def rate(self) -> float | None:
        """The part of the last attempts that arrived, from 0 to 1; None before the first."""
        return self.arrived / self.recent if self.recent else None

    @property
    def is_failing(self) -> bool:
        """Whether the last round of attempts failed."""
        return self.endpoint.state == Endpoint.State.ACTIVE and self.endpoint.failures > 0

    @property
    def public_key(self) -> str:
        """What verifies the asymmetric signature (v1a)."""
        return signing.unseal(bytes(self.endpoint.sealed_keys)).public_text


def endpoints() -> list[Health]:
    """Every endpoint, the oldest first."""
    return _health(list(Endpoint.objects.filter(state__in=SHOWN_STATES).order_by("id")))


def endpoint(endpoint_id: UUID) -> Health:
    """One endpoint. Raises NotFound."""
    found = Endpoint.objects.filter(pk=endpoint_id, state__in=SHOWN_STATES).first()
    if found is None:
        raise NotFound("There is no such endpoint.")
    return _health([found])[0]


def _health(rows: list[Endpoint]) -> list[Health]:
    with connection.cursor() as cursor:
        cursor.execute(_HEALTH, [MOST_COUNTED, RECENT, [row.pk for row in rows]])
        found = {row[0]: row[1:] for row in cursor.fetchall()}
    return [Health(row, *found[row.pk]) for row in rows]


def deliveries(
    *, endpoint_id: UUID, state: str = "", kind: str = "", before: UUID | None = None, limit: int = 50
) -> list[Delivery]:
    """The newest deliveries to an endpoint with their events, of one state or type where it is named."""
    rows = Delivery.objects.filter(endpoint_id=endpoint_id).select_related("event").order_by("-id")
    if state:
        rows = rows.filter(state=state)
    if kind:
        rows = rows.filter(event__type=kind)
    if before is not None:
        rows = rows.filter(id__lt=before)
    return list(rows[:limit])


def delivery(delivery_id: UUID) -> Delivery:
    """One delivery with its event and its endpoint. Raises NotFound."""
    shown = Delivery.objects.filter(pk=delivery_id, endpoint__state__in=SHOWN_STATES)
    found = shown.select_related("event", "endpoint").first()
    if found is None:
        raise NotFound("There is no such delivery.")
    return found


def attempts(delivery_id: UUID) -> list[Attempt]:
    """Every attempt at a delivery, the newest first."""
    return list(Attempt.objects.filter(delivery_id=delivery_id).order_by("-id"))
