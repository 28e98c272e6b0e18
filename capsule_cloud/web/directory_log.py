"""What a directory sent and what we answered: the log with its filters, and what failed with what helps."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from capsule_cloud.web.console import asked, asked_id, page, show
from tenancy.access import MemberPrincipal
from tenancy.errors import NotFound
from tenancy.roles import Right
from tenancy.scim.directories import selectors
from tenancy.scim.directories.remedies import explain
from tenancy.scim.models import Directory, Exchange

PAGE_SIZE = 50
KINDS = (("", "Everything"), ("write", "Changes"), ("failure", "Refused"), ("read", "Reads"))
TIMES = (("", "Thirty days"), ("1", "One hour"), ("24", "One day"), ("168", "One week"))


@require_safe
@page(Right.SSO_READ)
def index(request: HttpRequest, member: MemberPrincipal, directory_id: UUID) -> HttpResponse:
    """The newest first, of one kind or all, about one resource or all."""
    wanted = asked(request, "kind", "hours", "resource")
    if wanted["kind"] not in dict(KINDS) or wanted["hours"] not in dict(TIMES):
        raise Http404
    rows = selectors.exchanges(
        directory_id,
        kind=wanted["kind"],
        resource=wanted["resource"],
        since=timezone.now() - timedelta(hours=int(wanted["hours"])) if wanted["hours"] else None,
        before=asked_id(request, "before"),
        limit=PAGE_SIZE + 1,
    )
    older = request.GET.copy()
    if len(rows) > PAGE_SIZE:
        older["before"] = str(rows[PAGE_SIZE - 1].pk)
    context: dict[str, Any] = {
        "directory": _find(directory_id),
        "exchanges": [(one, selectors.detail_of(one)) for one in rows[:PAGE_SIZE]],
        "older": older.urlencode() if len(rows) > PAGE_SIZE else "",
        "kinds": KINDS,
        "times": TIMES,
        "is_filtered": any(wanted.values()) or "before" in request.GET,
        **wanted,
    }
    return show(request, member, "web/directory_log.html", "sso", **context)


@require_safe
@page(Right.SSO_READ)
def detail(request: HttpRequest, member: MemberPrincipal, directory_id: UUID, exchange_id: UUID) -> HttpResponse:
    """One exchange: both bodies without secrets, and what helps where it was refused."""
    directory = _find(directory_id)
    try:
        one = selectors.exchange(directory_id, exchange_id)
    except NotFound:
        raise Http404 from None
    context: dict[str, Any] = {
        "directory": directory,
        "exchange": one,
        "detail": selectors.detail_of(one),
        "reason": explain(one.status, one.scim_type) if one.kind == Exchange.Kind.FAILURE else None,
        "bodies": [
            (label, name, orjson.dumps(body, option=orjson.OPT_INDENT_2).decode())
            for label, name, body in (("Request", "request", one.request), ("Answer", "answer", one.answer))
            if body is not None
        ],
    }
    return show(request, member, "web/directory_exchange.html", "sso", **context)


@require_safe
@page(Right.SSO_READ)
def failures(request: HttpRequest, member: MemberPrincipal, directory_id: UUID) -> HttpResponse:
    """In which ways the last requests failed, and what helps."""
    context: dict[str, Any] = {"directory": _find(directory_id), "failures": selectors.failures(directory_id)}
    return show(request, member, "web/directory_failures.html", "sso", **context)


def _find(directory_id: UUID) -> Directory:
    try:
        return selectors.directory(directory_id)
    except NotFound:
        raise Http404 from None
