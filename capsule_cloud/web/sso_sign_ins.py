"""Every answer of the identity providers, step by step: who came, what was asserted, and why somebody was refused."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from capsule_cloud.web.console import asked_id, page, show
from capsule_cloud.web.sso_previews import preview, reason_of
from tenancy.access import MemberPrincipal
from tenancy.errors import NotFound
from tenancy.roles import Right
from tenancy.sso.providers import selectors, traces
from tenancy.sso.providers.outcomes import outcome
from tenancy.sso.providers.reasons import REASONS

PAGE_SIZE = 50
OUTCOMES = (
    ("", "Every outcome"),
    ("done", "Signed in"),
    ("tested", "Tests"),
    ("refused", "Refused"),
    ("answered", "Not finished"),
    ("ended", "Signed out"),
)


@require_safe
@page(Right.SSO_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The newest first, of all providers or one, of all outcomes or one."""
    outcome, provider_id = request.GET.get("outcome", ""), asked_id(request, "provider")
    code = request.GET.get("code", "")
    if outcome not in dict(OUTCOMES) or (code and code not in REASONS):
        raise Http404
    rows = traces.answers(
        provider_id=provider_id, state=outcome, code=code, before=asked_id(request, "before"), limit=PAGE_SIZE + 1
    )
    more = request.GET.copy()
    if len(rows) > PAGE_SIZE:
        more["before"] = str(rows[PAGE_SIZE - 1].pk)
    context: dict[str, Any] = {
        "rows": [(one, reason_of(one)) for one in rows[:PAGE_SIZE]],
        "more": more.urlencode() if len(rows) > PAGE_SIZE else "",
        "outcome": outcome,
        "outcomes": OUTCOMES,
        "provider_id": provider_id,
        "providers": selectors.providers(),
        "code": code,
        "codes": list(REASONS),
        "is_filtered": bool(outcome or provider_id or code or request.GET.get("before")),
    }
    part = "web/sso_sign_ins_rows.html" if request.headers.get("HX-Request") else "web/sso_sign_ins.html"
    return show(request, member, part, "sso", **context)


@require_safe
@page(Right.SSO_READ)
def detail(request: HttpRequest, member: MemberPrincipal, sign_in_id: UUID) -> HttpResponse:
    """One of them with its checks, and everything that was asserted."""
    try:
        sign_in = traces.answer(sign_in_id)
    except NotFound:
        raise Http404 from None
    context: dict[str, Any] = {
        "one": sign_in,
        "provider": sign_in.provider,
        "preview": preview(sign_in.provider, sign_in),
        "outcome": outcome(sign_in) if sign_in.subject else None,
        "note": REASONS["groups_left_out"],
    }
    return show(request, member, "web/sso_sign_in.html", "sso", **context)
