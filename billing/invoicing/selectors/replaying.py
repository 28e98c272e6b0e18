"""Rebuilds what was invoiced from the raw events alone, and says where it differs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.pricing import Charge
from billing.invoicing.selectors import priced
from billing.invoicing.selectors.billed import billed_for, part_of
from billing.invoicing.selectors.statements import sight_of
from billing.invoicing.terms import from_json
from billing.invoicing.usage import Measured, Sight, hours, summed
from billing.money import Money, round_line, times
from tenancy.scope import unscoped

PAGE = 500  # organizations asked for at once
REBUILT = (InvoiceLine.Kind.PLAN, InvoiceLine.Kind.SEATS, InvoiceLine.Kind.USAGE)


@dataclass(frozen=True, slots=True)
class Replay:
    """An invoice and how the raw events differ from it, in sentences; none where they do not."""

    invoice: Invoice
    differences: list[str]


def invoiced_between(since: datetime, until: datetime) -> Iterator[UUID]:
    """The organizations with an opened invoice of a period that begins in the time."""
    after = UUID(int=0)
    while True:
        with unscoped(reason="a replay looks at everybody's invoices of a month") as wide:
            rows = wide.rows("invoicing_invoiced", since, until, after, PAGE)
        for row in rows:
            after = row["organization_id"]
            yield after
        if len(rows) < PAGE:
            return


def replay(since: datetime, until: datetime) -> list[Replay]:
    """Every opened invoice of the organization in scope whose period begins in the time, computed again."""
    found = Invoice.objects.filter(period_start__gte=since, period_start__lt=until).order_by("period_start")
    return [Replay(one, list(_differences(one))) for one in found.exclude(state=Invoice.State.DRAFT)]


def _differences(invoice: Invoice) -> Iterator[str]:
    lines = list(invoice.lines.order_by("place"))
    yield from _wrong_lines(invoice, lines)
    yield from _wrong_sums(invoice, lines)
    yield from _not_billed(invoice)


def _rebuilt(invoice: Invoice, sight: Sight) -> Measured:
    found = hours((invoice.period_start, invoice.period_end), sight)
    return summed(sight.watermark, [(one.meter, one.hour, one.quantity) for one in found])


def _wrong_lines(invoice: Invoice, lines: Sequence[InvoiceLine]) -> Iterator[str]:
    """The lines by what the invoice saw when it was opened."""
    rebuilt = {_key(line.kind, line.allowance, line.how): line for line in _charges(invoice, Sight(invoice.watermark))}
    said = {_key(line.kind, line.allowance, line.how): line for line in lines if line.kind in REBUILT}
    for key in sorted(rebuilt.keys() | said.keys()):
        was, now = said.get(key), rebuilt.get(key)
        before = (was.quantity, was.amount + was.covered) if was else (0, 0)
        after = (now.quantity, now.whole) if now else (0, 0)
        if before != after or (was is None) != (now is None):
            yield (
                f"{' '.join(filter(None, key))}: {_priced(invoice, *before)} invoiced, "
                f"{_priced(invoice, *after)} by the events it saw"
            )


def _charges(invoice: Invoice, sight: Sight) -> list[Charge]:
    period = (invoice.period_start, invoice.period_end)
    return priced.charges(from_json(invoice.terms), _rebuilt(invoice, sight), period)


def _key(kind: str, allowance: str | None, how: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(kind), str(allowance or ""), part_of(how)


def _wrong_sums(invoice: Invoice, lines: Sequence[InvoiceLine]) -> Iterator[str]:
    for line in lines:
        if line.amount + line.covered + line.remainder != line.quantity * line.unit_price:
            yield f"line {line.place}: quantity times price is not its amount"
    total = sum(line.amount for line in lines)
    if total != invoice.total:
        yield f"total: {Money(invoice.total, invoice.currency)}, its lines come to {Money(total, invoice.currency)}"


def _not_billed(invoice: Invoice) -> Iterator[str]:
    """What the events say now beside what was billed, here and by adjustments of later invoices."""
    billed = billed_for(invoice)
    for line in _charges(invoice, sight_of(None)):
        if line.allowance is None:
            continue
        before, units = billed.get((line.allowance, part_of(line.how)), (0, 0))
        if line.how["used"] != before:
            missing, _ = round_line(times(line.unit_price, line.quantity - units))
            yield (
                f"{line.allowance.value}: {before:,} billed, {line.how['used']:,} used: "
                f"{Money(missing, invoice.currency)} for the adjustments of the next invoice"
            )


def _priced(invoice: Invoice, quantity: int, amount: int) -> str:
    return f"{quantity:,} for {Money(amount, invoice.currency)}"
