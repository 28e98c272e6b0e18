"""Reads the inbox of Stripe's events, for the staff who look after it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, F, Min, Q, QuerySet, TextField, When
from django.db.models.fields.json import KT

from billing.models import StripeEvent
from tenancy.scope import unscoped

# An event is about a customer, or about something that names one
CUSTOMER = Case(
    When(object_kind="customer", then=F("object_id")),
    default=KT("body__data__object__customer"),
    output_field=TextField(null=True),
)


@dataclass(frozen=True, slots=True)
class Owner:
    """The organization that a customer of Stripe's is."""

    organization_id: UUID
    slug: str


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


def events(
    *,
    status: str = "",
    kind: str = "",
    text: str = "",
    customer: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    ids: Collection[str] | None = None,
) -> QuerySet[StripeEvent]:
    """Events without their bodies, newest first, each with its `customer` at Stripe (None where it has none).

    Of a status, of a type that begins with `kind`, with this event's or object's id, of a customer, received from
    `since` to `until` (exclusive), or these.
    """
    found = StripeEvent.objects.annotate(customer=CUSTOMER).order_by("-received_at", "-id").defer("body")
    if ids is not None:
        found = found.filter(event_id__in=ids)
    if status:
        found = found.filter(status=status)
    if kind:
        found = found.filter(type__startswith=kind)
    if text:
        found = found.filter(Q(event_id=text) | Q(object_id=text))
    if customer:
        found = found.filter(customer=customer)
    if since:
        found = found.filter(received_at__gte=since)
    if until:
        found = found.filter(received_at__lt=until)
    return found


def customer_of(event: StripeEvent) -> str | None:
    """The customer of an event that `events` found."""
    customer: str | None = getattr(event, "customer", None)
    return customer


def customer_in(body: Any) -> str:
    """The customer that the body of an event names, whoever sent it; empty where it names none."""
    at = body
    for name in ("data", "object"):
        at = at.get(name) if isinstance(at, dict) else None
    if not isinstance(at, dict):
        return ""
    named = at.get("id") if at.get("object") == "customer" else at.get("customer")
    return named if isinstance(named, str) and named.startswith("cus_") and "\0" not in named else ""


def owners(customers: Collection[str]) -> dict[str, Owner]:
    """Whose customers of Stripe's these are, where somebody's."""
    if not customers:
        return {}
    with unscoped(reason="staff see whose an event of Stripe's is") as wide:
        rows = wide.rows("billing_owners_of_customers", list(customers))
    return {row["customer"]: Owner(row["organization_id"], row["slug"]) for row in rows}
