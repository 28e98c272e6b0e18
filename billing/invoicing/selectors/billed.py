"""Reads what is priced and what has been billed so far, for the organization in scope."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Sum

from billing.invoicing.models import Invoice, InvoiceLine, LateCharge
from billing.invoicing.pricing import SPENDING
from billing.invoicing.terms import Step, Terms
from billing.invoicing.usage import Measured
from billing.plans import Allowance

Billed = dict[Allowance, tuple[int, str]]  # how much was billed, and up to which watermark


def used_of(terms: Terms, seen: Measured) -> dict[Allowance, int]:
    """What is priced: what was used, and the seats that were bought at least."""
    used = dict(seen.allowances)
    if terms.seats and Allowance.SEATS in terms.allowances:
        used[Allowance.SEATS] = max(terms.seats, used.get(Allowance.SEATS, 0))
    return used


def billed_for(invoices: Sequence[Invoice]) -> dict[datetime, Billed]:
    """What was billed for the periods of invoices, by their start: there, and in adjustments since."""
    starts = [invoice.period_start for invoice in invoices]
    found: dict[datetime, Billed] = {start: {} for start in starts}
    rows = InvoiceLine.objects.filter(period_start__in=starts).exclude(allowance="")
    for row in rows.order_by("invoice__period_start", "place"):
        found[row.period_start][Allowance(row.allowance)] = (row.how["used"], row.how["watermark"])
    return found


def spent_in(step: Step) -> int:
    """What the periods of a step have cost so far, however it was paid: minor units."""
    lines = InvoiceLine.objects.filter(kind__in=SPENDING, period_start__gte=step.start, period_start__lt=step.end)
    return int(lines.aggregate(spent=Sum(F("amount") + F("covered")))["spent"] or 0)


@dataclass(frozen=True, slots=True)
class Compared:
    """A period twice, in minor units: what our lines come to, what Stripe's metered lines do, what it bills later."""

    ours: int
    at_stripe: int
    later: int

    @property
    def difference(self) -> int:
        """What nobody can explain; 0."""
        return self.ours - self.at_stripe - self.later


def compared(invoice: Invoice) -> Compared | None:
    """Our invoice beside Stripe's of its period; None where Stripe has none, or was not asked yet."""
    if invoice.at_stripe is None:
        return None
    later = LateCharge.objects.filter(line__invoice=invoice).aggregate(total=Sum("amount"))["total"]
    return Compared(invoice.subtotal, sum(one["amount"] for one in invoice.at_stripe.values()), int(later or 0))
