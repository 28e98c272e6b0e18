"""Gives money back: refunds of payments, and credit notes that take something off an invoice.

Nothing here may be called inside a scope: Stripe is asked in between, and never in an open transaction.
"""

from uuid import UUID

from billing.models import Document
from billing.stripe_client import StripeRefused, client
from billing.stripe_events import apply, now, refresh
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.scope import scope


def refund(*, organization_id: UUID, actor: Actor, document_id: UUID, amount: int, reason: str) -> None:
    """Pay `amount` minor units of a paid invoice back to the card.

    Raises NotFound, Invalid for an amount that was not paid or is back already, Conflict for an invoice that was paid
    some other way, StripeUnavailable or StripeRefused.
    """
    with scope(organization_id):
        invoice = _invoice(document_id)
        back = Document.objects.filter(kind=Document.Kind.REFUND, invoice_stripe_id=invoice.stripe_id)
        given = sum(back.exclude(status__in=["failed", "canceled"]).values_list("total", flat=True))
    if not 0 < amount <= invoice.amount_paid - given:
        raise Invalid("amount", "Refund at least one cent, and at most what was paid and is not back yet.")
    payments = [one["payment"] for one in client().payments(invoice.stripe_id) if one["status"] == "paid"]
    intent = next((one["payment_intent"] for one in payments if one["type"] == "payment_intent"), None)
    if intent is None:
        raise Conflict("This invoice was not paid by card: send the money back as it came.")
    made = client().refund(intent, amount, invoice=invoice.stripe_id, key=f"refund:{invoice.pk}:{given}:{amount}")
    with scope(organization_id):
        _record(actions.BILLING_REFUNDED, actor, invoice, amount, reason)
    refresh("refund", made["id"])


def credit(*, organization_id: UUID, actor: Actor, document_id: UUID, amount: int, reason: str) -> None:
    """Take `amount` minor units off an invoice by a credit note; of a paid one they stay for later invoices.

    Raises NotFound, Invalid where Stripe says that it is too much, StripeUnavailable.
    """
    with scope(organization_id):
        invoice = _invoice(document_id)
        notes = Document.objects.filter(kind=Document.Kind.CREDIT_NOTE, invoice_stripe_id=invoice.stripe_id).count()
    if amount <= 0:
        raise Invalid("amount", "A credit note is of at least one cent.")
    at = now()
    try:
        made = client().credit_note(
            invoice.stripe_id,
            amount,
            reason,
            is_paid=invoice.status == "paid",
            key=f"credit:{invoice.pk}:{notes}:{amount}",
        )
    except StripeRefused as refusal:
        raise Invalid("amount", str(refusal)) from refusal
    with scope(organization_id):
        _record(actions.BILLING_CREDITED, actor, invoice, amount, reason)
    apply("credit_note", made, at)
    refresh("invoice", invoice.stripe_id)


def _invoice(document_id: UUID) -> Document:
    found = Document.objects.filter(pk=document_id, kind=Document.Kind.INVOICE).first()
    if found is None:
        raise NotFound("There is no such invoice.")
    return found


def _record(action: actions.Action, actor: Actor, invoice: Document, amount: int, reason: str) -> None:
    target = Target("invoice", invoice.stripe_id, invoice.number)
    metadata = {"amount": amount, "currency": invoice.currency}
    record(action=action, actor=actor, target=target, metadata=metadata, reason=reason[:500])
