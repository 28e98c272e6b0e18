"""Writes what credits pay of invoices that Stripe collects: burned for a draft, put onto it, given back if it is void.

The burn comes first and is certain; the draft is changed outside any transaction, with a key that makes every attempt
the same one. When Stripe has closed the draft meanwhile, the credits come back.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from billing.credits.models import Category, InvoiceCredit
from billing.credits.selectors import balance
from billing.credits.services.ledger import burn, grant
from billing.stripe_client import StripeRefused, StripeUnavailable
from capsule_cloud.lib.jobs import enqueue
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope, unscoped
from tenancy.selectors import organization as organization_in_scope

LEASE = timedelta(minutes=2)
LONGEST_WAIT = 9  # as a power of two, in seconds: a draft stands for an hour
PRIORITY = 0  # what comes back is burned first
log = logging.getLogger("billing.credits")


@dataclass(frozen=True, slots=True)
class Deduction:
    """What is to be taken off which draft, in minor units."""

    id: UUID
    organization_id: UUID
    invoice_ref: str
    amount: int
    currency: str


Deductor = Callable[[Deduction], None]  # raises StripeUnavailable or StripeRefused


def burn_for_invoice(*, invoice_ref: str, total: int, currency: str, now: datetime) -> InvoiceCredit | None:
    """Burn what there is, `total` at most, for a draft of the organization in scope; once, however often it is seen."""
    with transaction.atomic():
        known = InvoiceCredit.objects.filter(invoice_ref=invoice_ref).first()
        if known is not None or total <= 0 or not balance(currency, now=now):
            return known
        burned = burn(
            actor=SYSTEM,
            amount=total,
            currency=currency,
            ref=f"invoice:{invoice_ref}",
            is_partial=True,
            now=now,
        )
        if not burned.amount:
            return None
        credit, is_new = InvoiceCredit.objects.get_or_create(
            invoice_ref=invoice_ref,
            defaults={
                "currency": currency,
                "amount": burned.amount,
                "due_at": min(now, timezone.now()),  # workers go by the real clock
                "burned_at": now,
            },
        )
        if is_new:
            enqueue("credits.deduct", organization_id=credit.organization_id, credit_id=str(credit.pk))
    return credit


def deduct(*, organization_id: UUID | str, credit_id: UUID | str, deductor: Deductor, now: datetime) -> None:
    """Put burned credits onto their draft, outside any transaction; nothing when somebody else does, or has."""
    with scope(organization_id) as organization:
        deduction = _claim(UUID(str(credit_id)), organization, now)
    if deduction is None:
        return
    try:
        deductor(deduction)
    except StripeUnavailable as error:
        log.warning("credits.deduction_waits invoice=%s", deduction.invoice_ref)
        with scope(organization_id):
            credit = InvoiceCredit.objects.select_for_update().get(pk=deduction.id)
            credit.due_at = now + timedelta(seconds=max(error.retry_after, 2 ** min(credit.attempts, LONGEST_WAIT)))
            credit.save(update_fields=["due_at"])
    except StripeRefused as refusal:
        log.warning("credits.deduction_refused invoice=%s code=%s", deduction.invoice_ref, refusal.code)
        with scope(organization_id):
            give_back(invoice_ref=deduction.invoice_ref, now=organization_in_scope().at(now))
    else:
        with scope(organization_id):
            InvoiceCredit.objects.filter(pk=deduction.id, state=InvoiceCredit.State.BURNED).update(
                state=InvoiceCredit.State.DEDUCTED
            )


def give_back(*, invoice_ref: str, now: datetime) -> None:
    """Give back what credits have paid of an invoice that is void, or closed before they came; once."""
    with transaction.atomic():
        credit = InvoiceCredit.objects.select_for_update().filter(invoice_ref=invoice_ref).first()
        if credit is None or credit.state == InvoiceCredit.State.RETURNED:
            return
        grant(
            actor=SYSTEM,
            amount=credit.amount,
            currency=credit.currency,
            category=Category.ADJUSTMENT,
            reason="Credits that an invoice did not need",
            ref=f"invoice-returned:{invoice_ref}",
            priority=PRIORITY,
            now=now,
        )
        credit.state = InvoiceCredit.State.RETURNED
        credit.save(update_fields=["state"])


def deduct_due(*, deductor: Deductor, now: datetime, limit: int = 100) -> int:
    """Put onto their drafts the credits whose own task was lost, of every organization; how many there were.

    One that fails does not keep the others: its lease makes it wait, and the failures are raised at the end.
    """
    with unscoped(reason="find burned credits that are not on their invoice yet") as wide:
        due = wide.rows("credits_deductions_due", now, limit)
    failures: list[Exception] = []
    for row in due:
        try:
            deduct(organization_id=row["organization_id"], credit_id=row["credit_id"], deductor=deductor, now=now)
        except Exception as failure:
            log.exception("credits.deduction_failed credit=%s", row["credit_id"])
            failures.append(failure)
    if failures:
        raise ExceptionGroup("Some credits could not be put onto their invoices.", failures)
    return len(due)


def _claim(credit_id: UUID, organization_id: UUID, now: datetime) -> Deduction | None:
    credit = (
        InvoiceCredit.objects.select_for_update(skip_locked=True)
        .filter(pk=credit_id, state=InvoiceCredit.State.BURNED, due_at__lte=now)
        .first()
    )
    if credit is None:
        return None
    credit.due_at, credit.attempts = now + LEASE, credit.attempts + 1
    credit.save(update_fields=["due_at", "attempts"])
    return Deduction(credit.pk, organization_id, credit.invoice_ref, credit.amount, credit.currency)
