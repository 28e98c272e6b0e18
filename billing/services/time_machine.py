"""Lets time pass for an organization that the simulator bills, with all that it brings: renewals, debts, ends."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from billing.credits import cashier
from billing.credits.models import InvoiceCredit
from billing.credits.services import deductions
from billing.models import ENDED, Subscription
from billing.sandbox import clock
from billing.services import dunning
from billing.services.accounts import customer_of
from billing.stripe_client import client
from billing.stripe_events import refresh
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Invalid, NotFound
from tenancy.scope import scope

LEAPS = (1, 7, 40)  # days
DRAFT_IS_THERE = timedelta(minutes=1)  # after a period's end


def advance(*, organization_id: UUID, actor: Actor, days: int) -> datetime:
    """Let so many days pass for the organization's customer in the simulator; its new time there.

    To be called outside a scope. Raises NotFound where Stripe itself is asked, Invalid for a leap that is not in LEAPS,
    Conflict where nothing was ever bought.
    """
    if not settings.STRIPE_SANDBOX:
        raise NotFound("There is no time machine here.")
    if days not in LEAPS:
        raise Invalid("days", f"Choose {', '.join(map(str, LEAPS))} days.")
    customer = customer_of(organization_id)
    left = timedelta(days=days)
    while left:
        step = min(left, _until_renewal(organization_id, customer) or left)
        clock.advance(customer, step)
        left -= step
        _hear(organization_id, customer)
    now = time_of(customer)
    dunning.advance(organization_id=organization_id, now=now)
    with scope(organization_id):
        target = Target("billing_account", customer, customer)
        record(action=actions.BILLING_TIME_PASSED, actor=actor, target=target, metadata={"days": days})
    return now


def _until_renewal(organization_id: UUID, customer: str) -> timedelta | None:
    """How long until the draft of the next renewal is there, if one comes: drafts stand for an hour alone."""
    with scope(organization_id):
        row = Subscription.objects.exclude(status__in=ENDED).exclude(stripe_id=None).first()
    if row is None:
        return None
    left = row.period_end + DRAFT_IS_THERE - time_of(customer)
    return timedelta(seconds=int(left.total_seconds())) if left >= timedelta(seconds=1) else None


def _hear(organization_id: UUID, customer: str) -> None:
    """Do at once what events would lead to by and by: credits pay drafts, and what a card does not pay is a debt."""
    with scope(organization_id):
        row = Subscription.objects.exclude(status__in=ENDED).exclude(stripe_id=None).first()
    if row is not None:
        refresh("subscription", str(row.stripe_id))
    for status in ("draft", "open"):
        for invoice in client().invoices(customer, status):
            refresh("invoice", invoice["id"])
    with scope(organization_id):
        burned = list(InvoiceCredit.objects.filter(state=InvoiceCredit.State.BURNED))
    for credit in burned:
        deductions.deduct(
            organization_id=organization_id, credit_id=credit.pk, deductor=cashier.deduct, now=timezone.now()
        )


def time_of(customer: str) -> datetime:
    """The customer's own time in the simulator."""
    return datetime.fromtimestamp(clock.now_of(customer), UTC)
