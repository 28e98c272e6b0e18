"""Settles our own invoices: paid out of band, void, or written off. Stripe settles its own."""

from datetime import datetime
from typing import Any

from billing import announcements
from billing.credits.services import grant
from billing.invoicing.models import Invoice
from billing.invoicing.services.collected import target
from billing.services import dunning
from tenancy.audit import actions
from tenancy.audit.actions import Action
from tenancy.audit.services import Actor, record
from tenancy.clock import here
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.services import organizations

LONGEST = 500


class NotOpen(Conflict):
    """The invoice is not open: it is a draft, or settled already."""

    code = "invoice_not_open"


def mark_paid(*, actor: Actor, invoice_id: Any, reference: str, paid_at: datetime | None = None) -> Invoice:
    """The money came by another way than Stripe; `reference` says which, as the bank calls it.

    The same again changes nothing. Raises NotFound, Invalid, or NotOpen.
    """
    invoice = _locked(invoice_id)
    if invoice.state == Invoice.State.PAID and invoice.settlement == reference.strip():
        return invoice
    now = here()
    moment = paid_at or now
    if moment > now:
        raise Invalid("paid_at", "A payment was made in the past.")
    settled = _settle(invoice, Invoice.State.PAID, reference, moment, actor, actions.INVOICE_PAID)
    dunning.payment_succeeded(actor=actor, invoice_ref=str(invoice), currency=invoice.currency, at=moment)
    return settled


def void(*, actor: Actor, invoice_id: Any, reason: str) -> Invoice:
    """Nobody has to pay it, and what credits have paid of it comes back. What it billed stays billed.

    Raises NotFound, Invalid, or NotOpen.
    """
    invoice = _locked(invoice_id)
    now = here()
    settled = _settle(invoice, Invoice.State.VOID, reason, now, actor, actions.INVOICE_VOIDED)
    if invoice.credited > 0:
        grant(
            actor=actor,
            amount=invoice.credited,
            currency=invoice.currency,
            category="adjustment",
            reason=f"Invoice {invoice} is void",
            ref=f"invoice-void:{invoice.pk}",
        )
    dunning.payment_succeeded(actor=actor, invoice_ref=str(invoice), currency=invoice.currency, at=now)
    return settled


def write_off(*, actor: Actor, invoice_id: Any, reason: str) -> Invoice:
    """We stop asking for the money. Raises NotFound, Invalid, or NotOpen."""
    invoice = _locked(invoice_id)
    now = here()
    settled = _settle(invoice, Invoice.State.UNCOLLECTIBLE, reason, now, actor, actions.INVOICE_WRITTEN_OFF)
    dunning.payment_succeeded(actor=actor, invoice_ref=str(invoice), currency=invoice.currency, at=now)
    return settled


def _locked(invoice_id: Any) -> Invoice:
    organizations.locked()
    invoice = Invoice.objects.filter(pk=invoice_id).first()
    if invoice is None or invoice.state == Invoice.State.DRAFT:
        raise NotFound("There is no such invoice.")
    return invoice


def _settle(
    invoice: Invoice, state: Invoice.State, words: str, moment: datetime, actor: Actor, action: Action
) -> Invoice:
    words = words.strip()
    if not 0 < len(words) <= LONGEST:
        raise Invalid("reference", f"Say how, in {LONGEST} characters at most.")
    if invoice.source == Invoice.Source.STRIPE:
        raise Conflict("Stripe collects this invoice: settle it there.")
    if invoice.state != Invoice.State.OPEN:
        raise NotOpen(f"Invoice {invoice} is {invoice.get_state_display().lower()} already.")
    changes = action.change(invoice, {"state": state})
    invoice.settled_at, invoice.settlement = moment, words
    invoice.save(update_fields=["state", "settled_at", "settlement"])
    record(
        action=action,
        actor=actor,
        target=target(invoice),
        metadata={"total": invoice.total, "currency": invoice.currency, "words": words},
        changes=changes,
    )
    if state == Invoice.State.PAID:
        announcements.invoice_paid(invoice)
    return invoice
