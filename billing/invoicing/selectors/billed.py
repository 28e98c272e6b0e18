"""Reads what is priced and what has been billed so far, for the organization in scope."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Sum

from billing.invoicing.models import Invoice, InvoiceLine, LateCharge
from billing.invoicing.pricing import SPENDING
from billing.invoicing.terms import Step, Terms
from billing.invoicing.usage import Measured
from billing.plans import Allowance

Billed = dict[tuple[Allowance, str], tuple[int, int]]  # of a part of the period: what was used, and units billed


def used_of(terms: Terms, seen: Measured) -> dict[Allowance, int]:
    """What is priced: what was used, and the seats that were bought at least."""
    used = dict(seen.allowances)
    if terms.seats and Allowance.SEATS in terms.allowances:
        used[Allowance.SEATS] = max(terms.seats, used.get(Allowance.SEATS, 0))
    return used


def billed_for(invoice: Invoice) -> Billed:
    """What was billed for the period of an invoice, there and in adjustments since; a part is known by its start."""
    found: Billed = {}
    rows = InvoiceLine.objects.filter(period_start=invoice.period_start).exclude(allowance="")
    for row in rows.order_by("invoice__period_start", "place"):
        key = Allowance(row.allowance), part_of(row.how)
        found[key] = row.how["used"], found.get(key, (0, 0))[1] + row.quantity
    return found


def part_of(how: Mapping[str, Any]) -> str:
    """Where the part of its period begins that a line is for; blank: it is for all of it."""
    return str(how["part"][0]) if "part" in how else ""


def is_begun(step: Step, invoice: Invoice) -> bool:
    """Whether an earlier period of a step was billed: the first one need not begin with it."""
    earlier = Invoice.objects.filter(period_start__gte=step.start, period_start__lt=invoice.period_start)
    return step.is_prepaid and earlier.exists()


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
