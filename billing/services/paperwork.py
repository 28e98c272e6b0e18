"""Projects Stripe's papers onto our rows: invoices, credit notes, refunds and disputes, with what follows from each.

Called inside the scope of the organization whose customer it is.
"""

import logging
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from billing import letters
from billing.credits.services import deductions, refunds, top_ups
from billing.invoicing.services import collected
from billing.models import Document
from billing.money import Money
from billing.services import dunning
from tenancy.audit import actions
from tenancy.audit.actions import Action
from tenancy.audit.services import SYSTEM, Target, record
from tenancy.clock import here
from tenancy.scope import current_organization_id
from tenancy.services import organizations

Json = dict[str, Any]
REFUND_FAILED = ("failed", "canceled")
log = logging.getLogger("billing")
DECIDED = ("won", "lost", "warning_closed", "prevented")  # what becomes of a dispute


def moment(seconds: Any) -> datetime | None:
    """A time of Stripe's."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def invoice(found: Json, at: datetime) -> None:
    """Keep an invoice; pay its draft with credits, tell dunning what it owes, settle the credits that it bought."""
    if found.get("deleted"):
        return
    if found["status"] == "draft":
        if found["billing_reason"] == "subscription_cycle":  # others are closed before anybody hears of them
            deductions.burn_for_invoice(
                invoice_ref=found["id"], total=found["total"], currency=found["currency"], now=here()
            )
        return
    if found["status"] == "void":
        deductions.give_back(invoice_ref=found["id"], now=here())
    moved = found.get("status_transitions") or {}
    _document(
        Document.Kind.INVOICE,
        found,
        at,
        number=found.get("number") or "",
        total=found["total"],
        tax=sum(one["amount"] for one in found.get("total_taxes") or []),
        amount_due=found["amount_due"],
        amount_paid=found["amount_paid"],
        page_url=found.get("hosted_invoice_url") or "",
        pdf_url=found.get("invoice_pdf") or "",
        period_start=moment(found.get("period_start")),
        period_end=moment(found.get("period_end")),
        due_at=moment(found.get("due_date")),
        billing_reason=found.get("billing_reason") or "",
        settled_at=moment(moved.get("paid_at") or moved.get("voided_at") or moved.get("marked_uncollectible_at")),
        issued_at=moment(moved.get("finalized_at") or found["created"]),
    )
    collected.follow(found["id"])
    if top_up := (found.get("metadata") or {}).get("top_up"):  # one that is not paid takes nothing away
        if found["status"] == "paid":
            organizations.locked()  # a refund and its purchase that are heard side by side see each other
            top_ups.settle(top_up_id=UUID(top_up), payment_ref=found["id"])
            kinds = [Document.Kind.REFUND, Document.Kind.DISPUTE]
            for back in Document.objects.filter(kind__in=kinds, invoice_stripe_id=found["id"]):
                _take_back(back)  # heard of before its purchase was
    else:
        _dun(found, at)


def _dun(found: Json, at: datetime) -> None:
    """Tell dunning what an invoice owes, or that it owes nothing any more."""
    moved = found.get("status_transitions") or {}
    ref, currency = found["id"], found["currency"]
    if found["status"] in {"paid", "void"}:
        settled = moment(moved.get("paid_at") or moved.get("voided_at")) or at
        dunning.payment_succeeded(actor=SYSTEM, invoice_ref=ref, currency=currency, at=settled)
        return
    if found["status"] != "open" or found.get("billing_reason") == "subscription_create":
        return  # a subscription whose first payment fails has not begun, and nothing is owed for it
    owed: Json = {
        "actor": SYSTEM,
        "invoice_ref": ref,
        "amount": found["amount_remaining"],
        "currency": currency,
        "pay_url": found.get("hosted_invoice_url") or "",
    }
    if due_at := moment(found.get("due_date")):
        dunning.payment_due(**owed, due_at=due_at)
    elif found.get("attempt_count"):
        dunning.payment_failed(**owed, failed_at=moment(moved.get("finalized_at")) or at)


def credit_note(found: Json, at: datetime) -> None:
    """Keep a credit note."""
    if not found.get("deleted"):
        _document(
            Document.Kind.CREDIT_NOTE,
            found,
            at,
            number=found.get("number") or "",
            total=found["total"],
            invoice_stripe_id=found.get("invoice") or "",
            pdf_url=found.get("pdf") or "",
            issued_at=moment(found["created"]),
        )


def refund(found: Json, at: datetime) -> None:
    """Keep a refund, and take back the credits that were bought with what it gave back."""
    organizations.locked()
    if not found.get("deleted"):
        _document(
            Document.Kind.REFUND,
            found,
            at,
            number=found.get("receipt_number") or "",
            invoice_stripe_id=found.get("invoice") or (found.get("metadata") or {}).get("invoice", ""),
            total=found["amount"],
            issued_at=moment(found["created"]),
        )
        _take_back(Document.objects.get(stripe_id=found["id"]))


def dispute(found: Json, at: datetime) -> None:
    """Keep a dispute and say that there is one; what is lost is gone, and with it the credits that it bought.

    It closes nothing: while the bank decides everything works. What a lost one leaves unpaid is asked for by an invoice
    of its own (`billing.stripe_events`).
    """
    organizations.locked()
    row = Document.objects.filter(stripe_id=found["id"]).first()
    if found.get("deleted") or (row is not None and row.synced_at >= at):
        return
    is_over = found["status"] in DECIDED
    _document(
        Document.Kind.DISPUTE,
        found,
        at,
        number=found["reason"],
        invoice_stripe_id=found.get("invoice") or "",
        total=found["amount"],
        due_at=moment((found.get("evidence_details") or {}).get("due_by")),
        settled_at=(row.settled_at if row else None) or (here() if is_over else None),
        issued_at=moment(found["created"]),
    )
    kept = Document.objects.get(stripe_id=found["id"])
    if row is None:
        _tell(kept, actions.BILLING_DISPUTE_OPENED, "dispute_opened", "A payment is disputed")
    if is_over and (row is None or row.status not in DECIDED):
        word = "lost" if kept.status == "lost" else "won"
        _tell(kept, actions.BILLING_DISPUTE_CLOSED, f"dispute_{word}", f"The dispute of a payment was {word}")
    _take_back(kept)


def _tell(kept: Document, action: Action, template: str, subject: str) -> None:
    metadata = {"amount": kept.total, "currency": kept.currency, "status": kept.status, "cause": kept.number}
    record(action=action, actor=SYSTEM, target=Target("dispute", str(kept.pk), kept.stripe_id), metadata=metadata)
    disputed = Document.objects.filter(stripe_id=kept.invoice_stripe_id).first()
    context = {"total": str(Money(kept.total, kept.currency)), "invoice": disputed.number if disputed else ""}
    letters.send(template=template, subject=subject, context=context)
    log.warning("%s organization=%s dispute=%s", action.name, kept.organization_id, kept.stripe_id)


def _take_back(back: Document) -> None:
    """Credits that were bought with money that is gone go, too; where a refund failed they are there again."""
    if back.status in REFUND_FAILED:
        refunds.restore(refund_ref=back.stripe_id)
        return
    bought = Document.objects.filter(stripe_id=back.invoice_stripe_id).first()
    if bought is not None and (back.kind == Document.Kind.REFUND or back.status == "lost"):
        refunds.take_back(
            invoice_ref=bought.stripe_id,
            refund_ref=back.stripe_id,
            amount=back.total,
            total=max(bought.total, back.total),
        )


def _document(kind: Document.Kind, found: Json, at: datetime, **columns: Any) -> None:
    row = Document.objects.select_for_update(no_key=True).filter(stripe_id=found["id"]).first()
    if row is not None and row.synced_at >= at:
        return
    is_new = row is None
    columns |= {
        "kind": kind,
        "status": found.get("status") or "",
        "currency": found["currency"],
        "synced_at": at,
        "organization_id": current_organization_id(),
    }
    row, _ = Document.objects.update_or_create(stripe_id=found["id"], defaults=columns)
    if is_new and kind == Document.Kind.INVOICE and row.total > 0:
        # Stripe writes to one address; an organization may have several
        context = {"document": row, "total": str(Money(row.total, row.currency))}
        letters.send(template="invoice", subject=f"Invoice {row.number}", context=context)
