"""Invoices, credit notes and refunds; and a line explained: from its price to its hours, from an hour to its events."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from billing.invoicing.models import InvoiceLine
from billing.invoicing.selectors import explaining, invoices
from billing.invoicing.selectors.billed import compared
from billing.invoicing.selectors.bills import bill_of, bills
from billing.metering.meters import Meter
from billing.money import Money
from billing.plans import FREE
from billing.selectors.entitlements import effective
from capsule_cloud.web.billing_frame import billing_page
from capsule_cloud.web.console import page
from tenancy.access import MemberPrincipal
from tenancy.errors import Invalid, NotFound
from tenancy.models import ApiKey, Project
from tenancy.roles import Right

PAGE_SIZE = 50
EVENTS = 100  # a page


@require_safe
@page(Right.BILLING_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """A page of bills, newest first: Stripe's documents and our invoices with their lines."""
    after = request.GET.get("after", "")
    try:
        found = bills(PAGE_SIZE + 1, after=after)
    except (ValueError, OverflowError):
        raise Http404 from None
    return billing_page(
        request,
        member,
        "web/billing_invoices.html",
        "billing_invoices",
        bills=found[:PAGE_SIZE],
        more=found[PAGE_SIZE - 1].place if len(found) > PAGE_SIZE else "",
        is_first=not after,
        is_free=effective().plan.key == FREE,
    )


@require_safe
@page(Right.BILLING_READ)
def detail(request: HttpRequest, member: MemberPrincipal, invoice_id: UUID) -> HttpResponse:
    """One invoice with its lines."""
    try:
        invoice = invoices.invoice(invoice_id)
    except NotFound as failure:
        raise Http404 from failure
    lines = [(line, _price(line, invoice.currency)) for line in invoice.lines.all()]
    return billing_page(
        request,
        member,
        "web/billing_invoice.html",
        "billing_invoices",
        invoice=invoice,
        bill=bill_of(invoice),
        compared=compared(invoice),
        lines=lines,
    )


@require_safe
@page(Right.BILLING_READ)
def line(request: HttpRequest, member: MemberPrincipal, line_id: UUID) -> HttpResponse:
    """How a line came about, and the hours that it counts."""
    one = _line(line_id)
    explained = explaining.explain(one)
    return billing_page(
        request,
        member,
        "web/billing_line.html",
        "billing_invoices",
        line=one,
        invoice=one.invoice,
        price=_price(one, one.invoice.currency),
        how=[(name.replace("_", " "), _said(value)) for name, value in explained.how.items()],
        explained=explained,
        hours=[(hour, Meter(hour.meter).label) for hour in explained.hours],
    )


@require_safe
@page(Right.BILLING_READ)
def events(request: HttpRequest, member: MemberPrincipal, line_id: UUID) -> HttpResponse:
    """The raw events of a line, of one hour when it is named; `after` is the last id of the page before."""
    one = _line(line_id)
    try:
        hour = datetime.fromisoformat(request.GET["hour"]) if "hour" in request.GET else None
        after = UUID(request.GET["after"]) if "after" in request.GET else None
        hour = hour if hour is None or hour.tzinfo else hour.replace(tzinfo=UTC)
        found = explaining.events_of(one, hour=hour, after=after, limit=EVENTS + 1)
    except (ValueError, OverflowError, Invalid):
        raise Http404 from None
    shown = found[:EVENTS]
    projects = dict(Project.objects.filter(pk__in={event.project_id for event in shown}).values_list("pk", "name"))
    keys = {key.pk: f"{key.name} ({key.hint}…)" for key in ApiKey.objects.filter(pk__in={one.key_id for one in shown})}
    return billing_page(
        request,
        member,
        "web/billing_events.html",
        "billing_invoices",
        line=one,
        invoice=one.invoice,
        hour=hour,
        events=[
            (
                event,
                Meter(event.meter).label,
                projects.get(event.project_id, ""),
                "" if event.key_id is None else keys.get(event.key_id, ""),
            )
            for event in shown
        ],
        more=shown[-1].id if len(found) > EVENTS else None,
    )


def _line(line_id: UUID) -> InvoiceLine:
    try:
        return invoices.line(line_id)
    except NotFound as failure:
        raise Http404 from failure


def _price(one: InvoiceLine, currency: str) -> str:
    """The price of a unit: whole cents as money, parts of a cent as they are."""
    if one.unit_price == one.unit_price.to_integral_value():
        return str(Money(int(one.unit_price), currency))
    return f"{Decimal(one.unit_price).normalize():f}¢"


def _said(value: object) -> str:
    """A value of `how` as people read it: numbers with commas, spans of time to the minute, meters by their names."""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return " to ".join(f"{datetime.fromisoformat(one):%-d %b %Y, %H:%M}" for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{quantity:,} {Meter(meter).label.lower()}" for meter, quantity in value.items())
    return str(value)
