"""Compares our invoices with Stripe's of the same period, and lets Stripe's next one bill what that one missed.

Nothing here may be called inside a scope: Stripe is asked in between, and never in an open transaction.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import F, Sum
from django.utils import timezone

from billing.invoicing import pricing
from billing.invoicing.models import Invoice, InvoiceLine, LateCharge
from billing.invoicing.selectors.billed import compared
from billing.invoicing.services.collected import target
from billing.invoicing.terms import from_json
from billing.invoicing.usage import whole_hours
from billing.models import ENDED, BillingAccount, MeterPush, Subscription
from billing.money import Money, round_line, times
from billing.plans import ALLOWANCE_METERS, Allowance
from billing.stripe_client import Json, StripeRefused, StripeUnavailable, client
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, record
from tenancy.clock import here
from tenancy.scope import scope, unscoped
from tenancy.services import organizations

PAGE = 500  # organizations asked for at once
MISSING_AFTER = timedelta(days=2)  # Stripe closes its invoice an hour after the period, we ours a day after it
State = Invoice.State
log = logging.getLogger("billing.invoicing")


@dataclass(frozen=True, slots=True)
class _Metered:
    """What Stripe's invoice bills of an allowance: units, and minor units of money."""

    quantity: int
    amount: int


def compare_due() -> int:
    """Compare what was not, and send what waits, for every organization; how many invoices differ or have none.

    Each of those is logged as an error: docs/runbooks/invoice-differs-from-stripe.md.
    """
    kinds: dict[str, str] = {}  # the allowance of each of Stripe's prices, asked for once
    wrong = 0
    for organization_id in _to_do():
        try:
            wrong += _compare_all(organization_id, kinds)
            deliver(organization_id=organization_id)
        except (StripeUnavailable, StripeRefused) as error:
            log.warning("invoicing.not_compared organization=%s reason=%s", organization_id, error)
    return wrong


def _to_do() -> Iterator[UUID]:
    after = UUID(int=0)
    while True:
        with unscoped(reason="find organizations whose invoices are to be compared with Stripe's") as wide:
            rows = wide.rows("invoicing_collected_by_stripe", after, PAGE)
        for row in rows:
            after = row["organization_id"]
            yield after
        if len(rows) < PAGE:
            return


def _compare_all(organization_id: UUID, kinds: dict[str, str]) -> int:
    with scope(organization_id):
        waiting = Invoice.objects.filter(source=Invoice.Source.STRIPE, at_stripe__isnull=True)
        found = list(waiting.exclude(state__in=[State.DRAFT, State.VOID]).order_by("period_start"))
    return sum(compare(organization_id=organization_id, invoice=invoice, kinds=kinds) for invoice in found)


def compare(*, organization_id: UUID, invoice: Invoice, kinds: dict[str, str] | None = None) -> bool:
    """Keep what Stripe's invoice bills by meters, and charge what it missed; whether something is wrong.

    Late use is not wrong: it becomes a LateCharge. Wrong is a price that is not ours, use that we never told Stripe, or
    a period of which Stripe has no invoice. Raises StripeUnavailable or StripeRefused.
    """
    if invoice.stripe_id is None:
        with scope(organization_id):
            is_missing = invoice.issued_at is not None and here() - invoice.issued_at > MISSING_AFTER
        if is_missing and invoice.subtotal:
            log.error("invoicing.none_at_stripe organization=%s invoice=%s", organization_id, invoice.pk)
        return is_missing and bool(invoice.subtotal)
    there = _metered(invoice.stripe_id, {} if kinds is None else kinds)
    with scope(organization_id):
        organizations.locked()
        invoice = Invoice.objects.get(pk=invoice.pk)
        if invoice.at_stripe is not None:
            return False
        invoice.at_stripe = {one: {"quantity": of.quantity, "amount": of.amount} for one, of in there.items()}
        invoice.save(update_fields=["at_stripe"])
        _charge(invoice, there)
        found = compared(invoice)
    if found is not None and found.difference:
        log.error(
            "invoicing.differs_from_stripe organization=%s invoice=%s stripe=%s ours=%d theirs=%d later=%d",
            *(organization_id, invoice.pk, invoice.stripe_id, found.ours, found.at_stripe, found.later),
        )
    return found is not None and bool(found.difference)


def _metered(stripe_id: str, kinds: dict[str, str]) -> dict[str, _Metered]:
    """The metered lines of Stripe's invoice by allowance: a graduated price may have a line for each tier."""
    result: dict[str, _Metered] = {}
    for line in client().invoice_lines(stripe_id):
        price = ((line.get("pricing") or {}).get("price_details") or {}).get("price")
        if price is None:
            continue
        if price not in kinds:
            kinds[price] = _allowance_of(client().retrieve("price", price))
        if allowance := kinds[price]:
            before = result.get(allowance, _Metered(0, 0))
            quantity = before.quantity + (line["quantity"] or 0)
            result[allowance] = _Metered(quantity, before.amount + line["amount"])
    return result


def _allowance_of(price: Json) -> str:
    """The allowance that a price is for; empty for one that is not metered."""
    if (price.get("recurring") or {}).get("usage_type") != "metered":
        return ""
    return str(price.get("lookup_key") or "").rpartition("-")[2]


def _charge(invoice: Invoice, there: dict[str, _Metered]) -> None:
    """Write down what Stripe shall bill later: late use of this period, and of the earlier ones in its adjustments."""
    made = []
    for line in invoice.lines.order_by("place"):
        amount = line.amount if line.kind == InvoiceLine.Kind.ADJUSTMENT else 0
        if line.kind == InvoiceLine.Kind.USAGE:
            billed = there.get(line.allowance, _Metered(0, 0))
            amount = line.amount - billed.amount if _is_explained(invoice, line, billed) else 0
        if amount:
            made.append(LateCharge(organization_id=invoice.organization_id, line=line, amount=amount))
    if made:
        LateCharge.objects.bulk_create(made)
        record(
            action=actions.INVOICE_LATE_USE,
            actor=SYSTEM,
            target=target(invoice),
            metadata={"amount": sum(one.amount for one in made), "currency": invoice.currency},
        )


def _is_explained(invoice: Invoice, line: InvoiceLine, billed: _Metered) -> bool:
    """Whether Stripe asked our price for what it billed, and billed no more than it was told."""
    terms = from_json(invoice.terms)
    allowance = Allowance(line.allowance)
    units = pricing.billable(terms, allowance, billed.quantity)
    since, until = whole_hours((invoice.period_start, invoice.period_end))
    told = MeterPush.objects.filter(
        meter__in=[meter.value for meter in ALLOWANCE_METERS[allowance]], hour__gte=since, hour__lt=until
    ).aggregate(total=Sum(F("end") - F("start")))["total"]
    return billed.amount == round_line(times(line.unit_price, units))[0] and billed.quantity <= (told or 0)


def deliver(*, organization_id: UUID) -> int:
    """Hand what waits to Stripe as items of the subscription's next invoice; how many arrived.

    A charge whose sending was not confirmed is looked for first: Stripe forgets idempotency keys after a day. Raises
    StripeUnavailable or StripeRefused; what was sent until then stays sent.
    """
    with scope(organization_id):
        account = BillingAccount.objects.first()
        row = Subscription.objects.exclude(status__in=ENDED).exclude(stripe_id=None).first()
        waiting = list(LateCharge.objects.filter(delivered_at=None).select_related("line__invoice").order_by("pk"))
    if account is None or not account.stripe_customer_id or row is None:
        return 0
    for charge in waiting:
        item = _known(account.stripe_customer_id, charge) if charge.first_sent_at else ""
        if not item:
            with scope(organization_id):
                LateCharge.objects.filter(pk=charge.pk).update(first_sent_at=charge.first_sent_at or timezone.now())
            form = _form(charge, account.stripe_customer_id, str(row.stripe_id))
            item = str(client().set_invoice_item(form, key=f"late-charge:{charge.pk}")["id"])
        with scope(organization_id):
            LateCharge.objects.filter(pk=charge.pk).update(delivered_at=timezone.now(), stripe_id=item)
    return len(waiting)


def _known(customer: str, charge: LateCharge) -> str:
    items = client().invoice_items(customer)
    return next((one["id"] for one in items if (one["metadata"] or {}).get("late_charge") == str(charge.pk)), "")


def _form(charge: LateCharge, customer: str, subscription: str) -> dict[str, Any]:
    line = charge.line
    invoice = line.invoice
    what = line.description if line.kind == InvoiceLine.Kind.ADJUSTMENT else _missed(line, invoice, charge.amount)
    return {
        "customer": customer,
        "subscription": subscription,
        "currency": invoice.currency,
        "amount": charge.amount,
        "description": what,
        "discountable": False,
        "metadata": {"late_charge": str(charge.pk), "invoice": str(invoice.pk)},
    }


def _missed(line: InvoiceLine, invoice: Invoice, amount: int) -> str:
    when: datetime = line.period_start
    return (
        f"{line.description}; counted after invoice {invoice} of the period from {when:%d %B %Y} was closed: "
        f"{Money(amount, invoice.currency)}"
    )
