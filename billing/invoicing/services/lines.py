"""Writes the lines of a draft: what the period cost, what came late for earlier ones, the commit, and credits."""

from collections.abc import Sequence
from datetime import datetime

from billing.credits.selectors import balance
from billing.credits.services import burn, grant
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.pricing import Charge, against_paid_commit, with_commit
from billing.invoicing.selectors import priced
from billing.invoicing.selectors.billed import is_begun, spent_in
from billing.invoicing.selectors.periods import Late
from billing.invoicing.terms import Step, from_json
from billing.invoicing.usage import Measured
from tenancy.audit.services import SYSTEM

CREDIT_PRIORITY = 10  # what we gave back is used up before what was bought


def write_lines(invoice: Invoice, *, seen: Measured, late: Sequence[Late], now: datetime, has_credits: bool) -> None:
    """Give a draft its lines, sums and watermark, in the transaction and under the lock of its caller.

    `seen` is what its closed period says, `late` what closings told of earlier ones since the last invoice. Without
    credits nobody looks for some.
    """
    terms = from_json(invoice.terms)
    period = (invoice.period_start, invoice.period_end)
    lines = priced.charges(terms, seen, period)
    adjustments = [
        (line, held.step)
        for one in late
        for held in [from_json(one.invoice.terms)]
        for line in priced.adjustments(
            held, before=one.before, now=one.now, period=(one.invoice.period_start, one.invoice.period_end)
        )
    ]
    if terms.step is None:
        lines = [*_of_past_steps(adjustments, None), *lines]
    else:
        mine = [line for line, step in adjustments if step is not None and step.start == terms.step.start]
        others = _of_past_steps(adjustments, terms.step)
        spent, is_first = spent_in(terms.step), not is_begun(terms.step, invoice)
        lines = [*others, *with_commit([*mine, *lines], terms.step, period=period, spent=spent, is_first=is_first)]
    rows = [_row(invoice, place, line) for place, line in enumerate(lines, start=1)]
    InvoiceLine.objects.bulk_create(rows)
    invoice.watermark = seen.watermark
    invoice.subtotal = sum(row.amount for row in rows)
    may_be_credited = invoice.subtotal < 0 or (invoice.source == Invoice.Source.MANUAL and has_credits)
    invoice.credited = _credit(invoice, len(rows) + 1, now) if may_be_credited else 0
    invoice.total = invoice.subtotal - invoice.credited


def _of_past_steps(late: Sequence[tuple[Charge, Step | None]], current: Step | None) -> list[Charge]:
    """Late use of steps that are over, whose commit is paid, and of periods without any."""
    result: list[Charge] = []
    for line, step in late:
        if step is None:
            result.append(line)
        elif current is None or step.start != current.start:
            spent = spent_in(step) + sum(one.whole for one in result if step.start <= one.period_start < step.end)
            result += against_paid_commit([line], step.commit, spent)
    return result


def _row(invoice: Invoice, place: int, line: Charge) -> InvoiceLine:
    return InvoiceLine(
        invoice=invoice,
        organization_id=invoice.organization_id,
        place=place,
        kind=line.kind,
        allowance=line.allowance or "",
        period_start=line.period_start,
        description=line.description,
        quantity=line.quantity,
        unit_price=line.unit_price,
        covered=line.covered,
        amount=line.amount,
        remainder=line.remainder,
        how=line.how,
    )


def _credit(invoice: Invoice, place: int, now: datetime) -> int:
    """Pay with credits what there is, or give as credits what is below zero; the line's id makes it happen once."""
    row = InvoiceLine(
        invoice=invoice,
        place=place,
        kind=InvoiceLine.Kind.CREDIT,
        period_start=invoice.period_start,
        quantity=1,
        remainder=0,
        how={},
    )
    ref, currency = f"invoice-line:{row.pk}", invoice.currency
    if invoice.subtotal < 0 and invoice.source == Invoice.Source.STRIPE:
        row.description, credited = "Given back with Stripe's next invoice", invoice.subtotal
    elif invoice.subtotal < 0:
        row.description = "Given as credits"
        granted = grant(
            actor=SYSTEM,
            amount=-invoice.subtotal,
            currency=currency,
            category="adjustment",
            reason=f"Correction of earlier use, {invoice.period_start:%B %Y}",
            ref=ref,
            priority=CREDIT_PRIORITY,
            now=now,
        )
        credited, row.how = invoice.subtotal, {"grant": str(granted.pk)}
    elif invoice.subtotal and balance(currency, now=now):
        row.description = "Paid with credits"
        burned = burn(actor=SYSTEM, amount=invoice.subtotal, currency=currency, ref=ref, is_partial=True, now=now)
        credited, row.how = burned.amount, {"transaction": str(burned.pk)}
    else:
        return 0
    row.amount, row.unit_price = -credited, -credited
    row.save()
    return credited
