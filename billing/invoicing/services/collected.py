"""Follows the invoices that Stripe collects: which of them bills a period of ours, and what became of it."""

from django.db.models import Q, QuerySet

from billing import announcements
from billing.invoicing.models import Invoice
from billing.models import Document
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Target, record

State = Invoice.State
# Why Stripe makes an invoice when a period ends; blank: kept before the reason was
PERIODIC = ("subscription_cycle", "subscription_update", "")
ACTIONS = {
    State.PAID: actions.INVOICE_PAID,
    State.VOID: actions.INVOICE_VOIDED,
    State.UNCOLLECTIBLE: actions.INVOICE_WRITTEN_OFF,
}
COPIED = ("stripe_id", "number", "page_url", "pdf_url", "state", "settled_at", "settlement")


def follow(stripe_id: str) -> None:
    """Bring our invoice of the period that a document of Stripe's bills to what that says; twice is once.

    Called in the scope and the transaction that keeps the document. Ours may not be there yet: `link` finds it then.
    """
    document = _documents().filter(stripe_id=stripe_id).first()
    if document is None:
        return
    mine = Q(stripe_id=stripe_id) | Q(stripe_id=None, period_end=document.period_end)
    ours = Invoice.objects.filter(mine, source=Invoice.Source.STRIPE).exclude(state=State.DRAFT)
    if (invoice := ours.select_for_update(no_key=True).first()) is not None:
        _take_over(invoice, document)


def link(invoice: Invoice) -> None:
    """Find the document that bills the period of an invoice that was just opened; it may come later: see `follow`."""
    found = _documents().filter(period_end=invoice.period_end)
    document = found.exclude(status="void").first() or found.first()
    if document is not None:
        _take_over(invoice, document)


def target(invoice: Invoice) -> Target:
    """The invoice as an audit target."""
    return Target("invoice", str(invoice.pk), str(invoice))


def _documents() -> QuerySet[Document]:
    return Document.objects.filter(kind=Document.Kind.INVOICE, billing_reason__in=PERIODIC).order_by("issued_at")


def _take_over(invoice: Invoice, document: Document) -> None:
    before = [getattr(invoice, name) for name in COPIED]
    state = State(document.status)
    was = invoice.state
    invoice.stripe_id, invoice.number = document.stripe_id, document.number or None
    invoice.page_url, invoice.pdf_url = document.page_url, document.pdf_url
    invoice.state = state
    is_settled = state is not State.OPEN
    invoice.settled_at = (document.settled_at or document.synced_at) if is_settled else None
    invoice.settlement = "Through Stripe" if is_settled else ""
    if before == [getattr(invoice, name) for name in COPIED]:
        return
    invoice.save(update_fields=COPIED)
    if state != was and state in ACTIONS:
        metadata = {"total": document.total, "currency": document.currency, "words": invoice.settlement}
        action = ACTIONS[state]
        changes = action.changed({"state": was}, {"state": state})
        record(action=action, actor=SYSTEM, target=target(invoice), metadata=metadata, changes=changes)
    if state != was and state == State.PAID:
        announcements.invoice_paid(invoice)
