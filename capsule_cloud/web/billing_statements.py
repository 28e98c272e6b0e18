"""The signed usage statement of an invoice, the raw events, and the program that checks them: no trust is needed."""

import json
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.views.decorators.http import require_safe

from billing.invoicing.models import Invoice
from billing.invoicing.selectors.invoices import invoice
from billing.invoicing.selectors.statements import event_lines, statement
from capsule_cloud.web.console import page
from tenancy.access import MemberPrincipal
from tenancy.errors import NotFound
from tenancy.roles import Right
from tenancy.scope import scope

PROGRAM = Path(settings.BASE_DIR) / "docs/api/verify_statement.py"


@require_safe
def verifier(request: HttpRequest) -> HttpResponse:
    """The program, the very file that is in the repository; for everybody, as auditors have no account."""
    answer = HttpResponse(PROGRAM.read_bytes(), content_type="text/x-python; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="verify_statement.py"'
    return answer


@require_safe
@page(Right.BILLING_READ)
def signed(request: HttpRequest, member: MemberPrincipal, invoice_id: UUID) -> HttpResponse:
    """The statement as JSON; 404 while the invoice is a draft."""
    found = _opened(invoice_id)
    content = json.dumps(statement((found.period_start, found.period_end)).as_json(), indent=1)
    answer = HttpResponse(content, content_type="application/json")
    answer["Content-Disposition"] = f'attachment; filename="{_name(member, found)}.json"'
    return answer


@require_safe
@page(Right.BILLING_READ, is_scoped=False)
def events(request: HttpRequest, member: MemberPrincipal, invoice_id: UUID) -> StreamingHttpResponse:
    """The raw events that the statement stands for, a line each, written while they are read."""
    with scope(member.organization_id):
        found = _opened(invoice_id)
    lines = event_lines(member.organization_id, found)
    answer = StreamingHttpResponse(lines, content_type="application/x-ndjson")
    answer["Content-Disposition"] = f'attachment; filename="{_name(member, found)}_events.jsonl"'
    return answer


def _opened(invoice_id: UUID) -> Invoice:
    try:
        found = invoice(invoice_id)
    except NotFound as failure:
        raise Http404 from failure
    if found.state == Invoice.State.DRAFT:
        raise Http404
    return found


def _name(member: MemberPrincipal, found: Invoice) -> str:
    return f"usage_statement_{member.slug}_{found.period_start:%Y-%m-%d}"
