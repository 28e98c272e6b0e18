"""Invoices, their lines, and how each line came about."""

from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.selectors import explaining, invoices
from billing.invoicing.selectors.billed import compared
from billing.invoicing.selectors.bills import Bill, bills
from billing.invoicing.selectors.statements import event_lines, statement
from billing.models import Document
from capsule_cloud.api import paging
from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.resource import Resource, paged, read_query
from tenancy.errors import NotFound
from tenancy.roles import Right

MOST_BILLS = 100


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


class ComparedAnswer(serializers.Serializer[Any]):
    """A period that Stripe collects, twice, in minor units: `ours` is `at_stripe` and `later`, or we look into it."""

    ours = serializers.IntegerField(help_text="What our lines of use come to.")
    at_stripe = serializers.IntegerField(help_text="What the metered lines of Stripe's invoice come to.")
    later = serializers.IntegerField(help_text="What was counted after that was closed: its next invoice bills it.")
    difference = serializers.IntegerField()


class InvoiceWithLinesAnswer(InvoiceAnswer):
    """An invoice with its lines; `compared` is null until Stripe has an invoice of the period."""

    lines = InvoiceLineAnswer(many=True)
    compared = serializers.SerializerMethodField()

    @extend_schema_field(ComparedAnswer(allow_null=True))
    def get_compared(self, invoice: Invoice) -> Any:
        """Beside Stripe's."""
        found = compared(invoice)
        return None if found is None else ComparedAnswer(found).data

    class Meta(InvoiceAnswer.Meta):
        fields = [*InvoiceAnswer.Meta.fields, "lines", "compared"]


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


class BillNoteAnswer(serializers.ModelSerializer[Document]):
    """A credit note or a refund: `total` comes back. Of a dispute it is gone, until that is `won`."""

    class Meta:
        model = Document
        fields = ["kind", "number", "status", "currency", "total", "pdf_url", "issued_at"]


class BillAnswer(serializers.Serializer[Bill]):
    """What is paid once, whoever collects it. `invoice_id` is the invoice of ours whose lines explain the use in it."""

    name = serializers.CharField()
    state = serializers.CharField(help_text="`with_the_next`: use that the next invoice brings.")
    total = serializers.IntegerField(source="total.amount", allow_null=True, default=None, help_text="Minor units.")
    tax = serializers.IntegerField(
        source="tax.amount", allow_null=True, default=None, help_text="Of the total; null where taxes are not computed."
    )
    currency = serializers.CharField(source="main.currency")
    at = serializers.DateTimeField()
    period_start = serializers.DateTimeField(source="main.period_start", allow_null=True)
    period_end = serializers.DateTimeField(source="main.period_end", allow_null=True)
    due_at = serializers.DateTimeField(allow_null=True)
    pay_url = serializers.CharField(allow_blank=True)
    pdf_url = serializers.CharField(source="main.pdf_url", allow_blank=True)
    invoice_id = serializers.UUIDField(source="invoice.pk", allow_null=True, default=None)
    notes = BillNoteAnswer(many=True)


class LineEventAnswer(serializers.Serializer[Any]):
    """A raw event that a line counts."""

    id = serializers.UUIDField()
    project_id = serializers.UUIDField()
    key_id = serializers.UUIDField(allow_null=True)
    meter = serializers.CharField()
    quantity = serializers.IntegerField()
    end_user = serializers.CharField(allow_blank=True)
    occurred_at = serializers.DateTimeField()


class HourQuery(serializers.Serializer[Any]):
    """Which hour of the line; all of them without it."""

    hour = serializers.DateTimeField(required=False)


class NdJson(BaseRenderer):
    """Names the form of a file that the view writes itself, line by line."""

    media_type, format, charset = "application/x-ndjson", "ndjson", "utf-8"


class BillsResource(Resource):
    """/v1/billing/bills"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(
        operation_id="list_bills",
        parameters=[OpenApiParameter("cursor", OpenApiTypes.STR, description="Of the link `next` of the page before.")],
        responses=BillAnswer(many=True),
    )
    def get(self, request: Request) -> Response:
        """List the newest 100 bills: one for whatever is paid once, with where to pay it and what came back of it.

        Where there are older ones, the header `Link` (RFC 8288) has the address of the next page, with `rel="next"`.
        """
        with self.scope(request):
            try:
                found = bills(MOST_BILLS + 1, after=request.query_params.get("cursor", ""))
            except (ValueError, OverflowError):
                raise ApiError("invalid_cursor") from None
            shown = [BillAnswer(one).data for one in found[:MOST_BILLS]]
        headers = {}
        if len(found) > MOST_BILLS:
            headers["Link"] = f'<{request.path}?cursor={found[MOST_BILLS - 1].place}>; rel="next"'
        return Response(shown, headers=headers)


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


class StatementResource(Resource):
    """/v1/billing/invoices/{invoice_id}/statement"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(operation_id="get_usage_statement", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, invoice_id: UUID) -> Response:
        """Get the signed statement of an invoice's use, to be checked offline; none of a draft."""
        with self.scope(request):
            found = _opened(invoice_id)
            return Response(statement((found.period_start, found.period_end)).as_json())


class StatementEventsResource(Resource):
    """/v1/billing/invoices/{invoice_id}/events"""

    rights = {"GET": Right.BILLING_READ}
    renderer_classes = [NdJson]

    @extend_schema(operation_id="get_statement_events", responses={(200, NdJson.media_type): OpenApiTypes.BINARY})
    def get(self, request: Request, invoice_id: UUID) -> StreamingHttpResponse:
        """Get every raw event that the statement stands for, a line of JSON each."""
        with self.scope(request):
            found = _opened(invoice_id)
        lines = event_lines(self.principal(request).organization_id, found)
        return StreamingHttpResponse(lines, content_type=NdJson.media_type)


class LineEventsResource(Resource):
    """/v1/billing/lines/{line_id}/events"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(
        operation_id="list_line_events",
        parameters=[HourQuery, *paging.PARAMETERS],
        responses=paged(LineEventAnswer),
    )
    def get(self, request: Request, line_id: UUID) -> Response:
        """List the raw events that a line counts, of one of its hours or all."""
        hour = read_query(HourQuery, request).get("hour")
        limit, after = paging.limit_of(request), paging.cursor_of(request)
        with self.scope(request):
            rows = explaining.events_of(invoices.line(line_id), hour=hour, after=after, limit=limit + 1)
        return Response(paging.answer(rows, limit, lambda row: row.id, lambda row: LineEventAnswer(row).data))


def _opened(invoice_id: UUID) -> Invoice:
    found = invoices.invoice(invoice_id)
    if found.state == Invoice.State.DRAFT:
        raise NotFound("The invoice is a draft: its use is still being counted.")
    return found
