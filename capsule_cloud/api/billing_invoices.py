"""Invoices, their lines, and how each line came about."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.selectors import explaining, invoices
from capsule_cloud.api import paging
from capsule_cloud.api.resource import Resource, paged
from tenancy.roles import Right


class InvoiceAnswer(serializers.ModelSerializer[Invoice]):
    """An invoice; amounts are minor units of `currency`."""

    class Meta:
        model = Invoice
        fields = [
            "id",
            "number",
            "state",
            "source",
            "currency",
            "period_start",
            "period_end",
            "subtotal",
            "credited",
            "total",
            "po_number",
            "issued_at",
            "due_at",
            "settled_at",
            "page_url",
            "pdf_url",
        ]


class InvoiceLineAnswer(serializers.ModelSerializer[InvoiceLine]):
    """One line: `amount` is `quantity` times `unit_price`, rounded once; `remainder` is what that left."""

    class Meta:
        model = InvoiceLine
        fields = [
            "id",
            "kind",
            "allowance",
            "period_start",
            "description",
            "quantity",
            "unit_price",
            "covered",
            "amount",
            "remainder",
        ]


class InvoiceWithLinesAnswer(InvoiceAnswer):
    """An invoice with its lines."""

    lines = InvoiceLineAnswer(many=True)

    class Meta(InvoiceAnswer.Meta):
        fields = [*InvoiceAnswer.Meta.fields, "lines"]


class HourAnswer(serializers.Serializer[Any]):
    """The sum of one meter over one UTC hour, as the line counts it."""

    hour = serializers.DateTimeField()
    meter = serializers.CharField()
    quantity = serializers.IntegerField()


class ExplanationAnswer(serializers.Serializer[Any]):
    """How a line came about: the rule, and the hours that it counts. /v1/usage/events has what is under them."""

    line = InvoiceLineAnswer()
    how = serializers.JSONField()
    measured = serializers.IntegerField(help_text="The sum of the hours.")
    hours = HourAnswer(many=True)


class InvoicesResource(Resource):
    """/v1/billing/invoices"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(operation_id="list_invoices", parameters=paging.PARAMETERS, responses=paged(InvoiceAnswer))
    def get(self, request: Request) -> Response:
        """List the invoices of the newest 200 periods, newest first; a draft is the period that was closed last."""
        with self.scope(request):
            rows = invoices.invoices(invoices.LARGEST_PAGE)
        show = paging.page(request, rows, lambda row: row.pk, lambda row: InvoiceAnswer(row).data, newest_first=True)
        return Response(show)


class InvoiceResource(Resource):
    """/v1/billing/invoices/{invoice_id}"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(operation_id="get_invoice", responses=InvoiceWithLinesAnswer)
    def get(self, request: Request, invoice_id: UUID) -> Response:
        """Get an invoice with its lines."""
        with self.scope(request):
            return Response(InvoiceWithLinesAnswer(invoices.invoice(invoice_id)).data)


class InvoiceLineResource(Resource):
    """/v1/billing/lines/{line_id}"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(operation_id="explain_invoice_line", responses=ExplanationAnswer)
    def get(self, request: Request, line_id: UUID) -> Response:
        """Explain a line: the rule that made it, and the hours that it counts."""
        with self.scope(request):
            explained = explaining.explain(invoices.line(line_id))
            line = InvoiceLineAnswer(explained.line).data
        hours = [{"hour": one.hour, "meter": one.meter, "quantity": one.quantity} for one in explained.hours]
        return Response({"line": line, "how": dict(explained.how), "measured": explained.measured, "hours": hours})
