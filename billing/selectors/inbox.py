"""Reads the inbox of Stripe's events, for the staff who look after it."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min, Q, QuerySet

from billing.models import StripeEvent


@dataclass(frozen=True, slots=True)
class InboxState:
    """How many events wait, how many were given up, and since when the oldest one waits (None: none does)."""

    waiting: int
    dead: int
    oldest: datetime | None


def state() -> InboxState:
    """The state of the inbox now."""
    waiting = Q(status=StripeEvent.Status.NEW)
    found = StripeEvent.objects.aggregate(
        waiting=Count("id", filter=waiting),
        dead=Count("id", filter=Q(status=StripeEvent.Status.DEAD)),
        oldest=Min("received_at", filter=waiting),
    )
    return InboxState(**found)


def events(*, status: str = "", kind: str = "", text: str = "") -> QuerySet[StripeEvent]:
    """Events, newest first: of a status, of a type that begins with `kind`, with this event's or object's id."""
    found = StripeEvent.objects.order_by("-received_at", "-id").defer("body")
    if status:
        found = found.filter(status=status)
    if kind:
        found = found.filter(type__startswith=kind)
    if text:
        found = found.filter(Q(event_id=text) | Q(object_id=text))
    return found
