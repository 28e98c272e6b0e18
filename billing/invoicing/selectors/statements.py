"""Makes the signed usage statement of a period, and the export of the raw events that it stands for."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from billing.invoicing.models import Invoice
from billing.invoicing.statement import FORMAT, Hours, event_line, signed_bytes, totals
from billing.invoicing.usage import Period, Sight, events, whole_hours
from tenancy.scope import scope
from tenancy.selectors import organization
from tenancy.services.signing import ExportSignature, sign_export


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement, and the organization's signature over its format's name, a line feed and its canonical bytes."""

    statement: dict[str, Any]
    signature: ExportSignature

    def as_json(self) -> dict[str, Any]:
        """As it is handed out."""
        return {"statement": self.statement, "signature": asdict(self.signature)}


def statement(period: Period) -> Signed:
    """The statement of a period of the organization in scope.

    Of a period that is invoiced it says what the invoice counted, and its lines; of another one what there is now. What
    came late for it is in neither: the next invoice has it.
    """
    owner, invoice = organization(), invoice_of(period)
    sight = sight_of(invoice)
    counted = Hours()
    for event in _events(period, sight):
        line = event_line(event)
        counted.add(line, at=event.occurred_at, meter=event.meter, quantity=event.quantity)
    hours = counted.entries()
    since, until = whole_hours(period)
    made = {
        "format": FORMAT,
        "organization": {"id": str(owner.pk), "slug": owner.slug},
        "period": {
            "start": period[0].isoformat(),
            "end": period[1].isoformat(),
            "hours": [since.isoformat(), until.isoformat()],
        },
        "watermark": sight.watermark,
        "meters": totals(hours),
        "hours": hours,
        "chain": hours[-1]["chain"] if hours else "",
        "invoice": _invoice(invoice) if invoice else None,
    }
    return Signed(made, sign_export(signed_bytes(made)))


def exported_events(period: Period, watermark: str) -> Iterator[bytes]:
    """The raw events of a statement's period and watermark, a line each, by id; read a page at a time."""
    for event in _events(period, Sight(watermark)):
        yield event_line(event) + b"\n"


def invoice_of(period: Period) -> Invoice | None:
    """The opened invoice of a period, if it has one."""
    rows = Invoice.objects.filter(period_start=period[0], period_end=period[1])
    return rows.exclude(state=Invoice.State.DRAFT).first()


def sight_of(invoice: Invoice | None) -> Sight:
    """What an invoice saw; without one, what is there now."""
    if invoice is not None:
        return Sight(invoice.watermark)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_snapshot()::text")
        [(now,)] = cursor.fetchall()
    return Sight(now)


def _events(period: Period, sight: Sight) -> Iterator[Any]:
    after = None
    while page := events(period, sight, after=after):
        yield from page
        after = page[-1].id


def _invoice(invoice: Invoice) -> dict[str, Any]:
    return {
        "number": str(invoice.number or ""),
        "currency": invoice.currency,
        "total": invoice.total,
        "terms": invoice.terms,
        "lines": [
            {
                "place": line.place,
                "kind": line.kind,
                "allowance": line.allowance,
                "used": line.how.get("used"),
                "hours": line.how.get("hours"),
                "part": line.how.get("part"),
                "quantity": line.quantity,
                "unit_price": f"{line.unit_price:f}",
                "covered": line.covered,
                "amount": line.amount,
                "remainder": f"{line.remainder:f}",
            }
            for line in invoice.lines.order_by("place")
        ],
    }


def event_lines(organization_id: UUID, invoice: Invoice) -> Iterator[bytes]:
    """The raw events that an invoice's statement stands for, a line each.

    To be called outside a scope: each page is read in one of its own, so that a slow reader holds no transaction open.
    """
    period, sight, after = (invoice.period_start, invoice.period_end), Sight(invoice.watermark), None
    while True:
        with scope(organization_id):
            some = events(period, sight, after=after)
        if not some:
            return
        yield from (event_line(event) + b"\n" for event in some)
        after = some[-1].id
