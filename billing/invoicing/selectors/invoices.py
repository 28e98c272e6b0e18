"""Reads the invoices of the organization in scope."""

from typing import Any
from uuid import UUID

from django.db.models import Prefetch

from billing.invoicing.models import Invoice, InvoiceLine
from tenancy.errors import NotFound
from tenancy.scope import unscoped

LARGEST_PAGE = 200


def invoices(limit: int = 50) -> list[Invoice]:
    """The newest periods' invoices, drafts included."""
    return list(Invoice.objects.order_by("-period_start")[: min(limit, LARGEST_PAGE)])


def invoice(invoice_id: Any) -> Invoice:
    """One invoice with its lines in order (`lines.all()`). Raises NotFound."""
    in_order = Prefetch("lines", InvoiceLine.objects.order_by("place"))
    found = Invoice.objects.prefetch_related(in_order).filter(pk=invoice_id).first()
    if found is None:
        raise NotFound("There is no such invoice.")
    return found


def line(line_id: Any) -> InvoiceLine:
    """One line with its invoice. Raises NotFound."""
    found = InvoiceLine.objects.select_related("invoice").filter(pk=line_id).first()
    if found is None:
        raise NotFound("There is no such line.")
    return found


def organization_named(slug: str) -> UUID:
    """The organization with this slug, for a command; outside any scope. Raises NotFound."""
    with unscoped(reason="an operator's command names an organization") as wide:
        rows = wide.rows("invoicing_organization", slug)
    if not rows:
        raise NotFound(f"There is no organization {slug!r}.")
    return UUID(str(rows[0]["organization_id"]))
