"""Changes of plan that say beforehand, to the cent, what they cost; of two prepared side by side one is made.

Nothing here may be called inside a scope: Stripe is asked in between, and never in an open transaction.
"""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core import signing
from django.db.models import F

from billing.models import ENDED, Source, Status, Subscription
from billing.plans import FREE, Allowance, Interval, Plan, UnknownPlan, current, plan
from billing.selectors.entitlements import at_granted_prices
from billing.services.accounts import customer_of
from billing.services.prices import check_seats, items_for
from billing.services.projection import target_of
from billing.stripe_client import Json, StripeRefused, client
from billing.stripe_events import apply, now, refresh
from tenancy.audit import actions
from tenancy.audit.services import Actor, record
from tenancy.errors import Conflict, Invalid
from tenancy.scope import scope

GOOD_FOR = 900  # seconds that a preview can be confirmed
SALT = "billing.change"
AT_ONCE = "always_invoice"
log = logging.getLogger("billing")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the invoice to come; minor units, negative where money comes back."""

    description: str
    amount: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change costs, in minor units: `due_now` is charged when `token` is confirmed, within 15 minutes.

    `credit` is what is left over for later invoices; `next_invoice` the fixed part of the next regular one.
    """

    lines: tuple[Line, ...]
    currency: str
    due_now: int
    credit: int
    next_invoice: int
    proration_date: int
    token: str


@dataclass(frozen=True, slots=True)
class _Change:
    """What a token says."""

    organization: str
    revision: int
    plan: str
    version: int
    interval: str
    seats: int
    at: int
    total: int

    @property
    def chosen(self) -> Plan:
        return plan(self.plan, self.version)


def live_subscription(organization_id: UUID) -> Subscription:
    """The subscription that Stripe runs for the organization. Raises Conflict where there is none to change."""
    with scope(organization_id):
        found = Subscription.objects.exclude(status__in=ENDED).first()
    if found is None or found.source != Source.STRIPE or not found.stripe_id:
        raise Conflict("There is no subscription to change: choose a plan, or ask us about your contract.")
    return found


def refuse_scheduled(row: Subscription) -> None:
    """Raise Conflict while another change waits for the period's end: the two would undo each other."""
    if row.schedule_id:
        raise Conflict("A change of plan is scheduled: take it back first.")


def claim_revision(organization_id: UUID, row: Subscription) -> int:
    """The next revision: of two who change the subscription side by side the second is told. Raises Conflict."""
    with scope(organization_id):
        mine = Subscription.objects.filter(pk=row.pk, revision=row.revision)
        if not mine.update(revision=F("revision") + 1):
            raise Conflict("The subscription has been changed meanwhile: look again.")
    return row.revision + 1


def preview_change(*, organization_id: UUID, plan_key: str, interval: str, seats: int) -> Preview:
    """What changing now to the plan, interval and number of people would cost.

    Raises Invalid, Conflict, StripeUnavailable or StripeRefused.
    """
    chosen, every = chosen_plan(plan_key, interval)
    check_seats(seats)
    row = live_subscription(organization_id)
    refuse_scheduled(row)
    if row.status not in {Status.ACTIVE, Status.TRIALING}:
        raise Conflict("An invoice is open: pay it first.")
    customer = customer_of(organization_id)
    at = client().time_of(customer)
    seats = max(seats, chosen.allowances[Allowance.SEATS].quantity)
    if (chosen, every, seats) == (row.plan, row.interval, row.seats):
        raise Invalid("plan", "That is what you have: nothing would change.")
    invoice = _preview(row, chosen, every, seats, at, customer)
    change = _Change(
        organization=str(organization_id),
        revision=row.revision,
        plan=chosen.key,
        version=chosen.version,
        interval=every.value,
        seats=seats,
        at=at,
        total=invoice["total"],
    )
    extra, mine = seats - chosen.allowances[Allowance.SEATS].quantity, granted(organization_id, chosen)
    return Preview(
        lines=(
            *(Line(line["description"] or "", line["amount"]) for line in invoice["lines"]["data"]),
            *(Line(_tax_in_words(tax), tax["amount"]) for tax in invoice.get("total_taxes") or []),
        ),
        currency=invoice["currency"],
        due_now=invoice["amount_due"],
        credit=max(0, -invoice["total"]),
        next_invoice=mine.amount(every) + extra * mine.seat,
        proration_date=at,
        token=signing.dumps([getattr(change, name) for name in _Change.__slots__], salt=SALT),
    )


def _preview(row: Subscription, chosen: Plan, interval: Interval, seats: int, at: int, customer: str) -> Json:
    items = items_for(granted(row.organization_id, chosen), interval, seats, existing=_items(row))
    return client().preview(customer, str(row.stripe_id), items, at=at, behavior=AT_ONCE)


def _tax_in_words(tax: Json) -> str:
    """A tax of an invoice, as `VAT 19% (DE)`."""
    if tax["taxability_reason"] == "reverse_charge":
        return "Reverse charge: tax to be paid by the recipient"
    rate = (tax.get("tax_rate_details") or {}).get("tax_rate")
    if not isinstance(rate, dict):
        return "Tax"
    country = f" ({rate['country']})" if rate.get("country") else ""
    return f"{rate['display_name']} {rate['percentage']:g}%{country}"


def granted(organization_id: UUID, chosen: Plan) -> Plan:
    """The plan at the prices that were granted to the organization."""
    with scope(organization_id):
        return at_granted_prices(chosen)


def _items(row: Subscription) -> list[Json]:
    found: list[Json] = client().retrieve("subscription", str(row.stripe_id))["items"]["data"]
    return found


def chosen_plan(key: str, interval: str) -> tuple[Plan, Interval]:
    """The plan as it is sold today. Raises Invalid for one that cannot be bought here."""
    try:
        chosen, every = current(key), Interval(interval)
    except (UnknownPlan, ValueError):
        raise Invalid("plan", "There is no such plan.") from None
    if chosen.key == FREE:
        raise Invalid("plan", "The free plan needs no payment: cancel the subscription to go back to it.")
    return chosen, every


def apply_change(*, organization_id: UUID, actor: Actor, token: str) -> None:
    """Make the previewed change, and charge exactly what the preview said.

    The same token again does nothing more. Raises Invalid for a token that is broken or 15 minutes old; Conflict where
    the subscription or the price has changed since the preview; StripeRefused where the card was refused, then nothing
    is changed; StripeUnavailable, then the same token may be tried again.
    """
    change = _read(token, organization_id)
    row = live_subscription(organization_id)
    digest = hashlib.sha256(token.encode()).hexdigest()
    if row.change_token == digest:  # tried before: it may have been done, with the answer lost
        refresh("subscription", str(row.stripe_id))
        row = live_subscription(organization_id)
        if (row.plan, row.interval, row.seats) == (change.chosen, change.interval, change.seats):
            _count_seats_paid(organization_id, row, change)
            return
    else:
        again = _preview(
            row, change.chosen, Interval(change.interval), change.seats, change.at, customer_of(organization_id)
        )
        if again["total"] != change.total:
            raise Conflict("The price has changed meanwhile: look at the new preview.")
    _take_turn(organization_id, actor, row, change, digest)
    mine = granted(organization_id, change.chosen)
    items = items_for(mine, Interval(change.interval), change.seats, existing=_items(row))
    at = now()
    try:
        found = client().change_subscription(
            str(row.stripe_id), items, at=change.at, behavior=AT_ONCE, key=f"change:{digest}"
        )
    except StripeRefused:
        refresh("subscription", str(row.stripe_id))
        raise
    apply("subscription", found, at)
    _count_seats_paid(organization_id, row, change)


def _count_seats_paid(organization_id: UUID, row: Subscription, change: _Change) -> None:
    with scope(organization_id):
        # its invoice has taken the line of added seats along
        Subscription.objects.filter(pk=row.pk).update(paid_seats=change.seats, seat_line_id="", seat_line_amount=0)


def _take_turn(organization_id: UUID, actor: Actor, row: Subscription, change: _Change, digest: str) -> None:
    """Claim the revision that the preview was of: whoever comes second has seen a price that is no longer true."""
    with scope(organization_id):
        mine = Subscription.objects.filter(pk=row.pk, revision=change.revision)
        if mine.update(revision=F("revision") + 1, change_token=digest):
            action = actions.BILLING_CHANGE_ORDERED
            changes = action.changed(
                {"plan": row.plan_key, "interval": row.interval, "seats": row.seats},
                {"plan": change.plan, "interval": change.interval, "seats": change.seats},
            )
            metadata = {"total": change.total}
            record(action=action, actor=actor, target=target_of(row), metadata=metadata, changes=changes)
        elif not Subscription.objects.filter(pk=row.pk, change_token=digest).exists():
            raise Conflict("The subscription has been changed meanwhile: look at the new preview.")


def _read(token: str, organization_id: UUID) -> _Change:
    try:
        values: list[Any] = signing.loads(token, salt=SALT, max_age=GOOD_FOR)
    except signing.SignatureExpired:
        raise Invalid("token", "The preview is older than 15 minutes: look at a new one.") from None
    except signing.BadSignature:
        raise Invalid("token", "This is no preview of ours.") from None
    change = _Change(*values)
    if change.organization != str(organization_id):
        raise Invalid("token", "This is no preview of ours.")
    return change
