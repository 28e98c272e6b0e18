"""Kept writes: what waits for a cap to lift or could not be applied, and what to do with it."""

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from billing.quotas import parking, selectors
from billing.quotas.models import ParkedWrite
from capsule_cloud.web.billing_frame import billing_page
from capsule_cloud.web.console import page, perform
from tenancy.access import MemberPrincipal
from tenancy.roles import Right
from tenancy.selectors import projects

PAGE_SIZE = 50
STATES = [ParkedWrite.State.PARKED, ParkedWrite.State.FAILED]
AGAIN = "The write waits again, behind the others."
GONE = "The write is gone: it never happens."


@require_safe
@page(Right.BILLING_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """What waits, in its order, or what was set aside; `after` is the number of the last one of the page before."""
    state, after = request.GET.get("state", ParkedWrite.State.PARKED), request.GET.get("after", "0")
    if state not in STATES or not (after.isascii() and after.isdigit() and len(after) < 19):
        raise Http404
    rows = selectors.parked_writes(state=state, after=int(after), limit=PAGE_SIZE + 1)
    names = {one.pk: one.name for one in projects()}
    shown = rows[:PAGE_SIZE]
    return billing_page(
        request,
        member,
        "web/billing_kept.html",
        "billing_caps",
        writes=[(one, names.get(one.project_id, "Gone")) for one in shown],
        counts=selectors.parked(),
        state=state,
        is_set_aside=state == ParkedWrite.State.FAILED,
        after=shown[-1].number if len(rows) > PAGE_SIZE else None,
        as_of_now=timezone.now(),
    )


@require_POST
@page(Right.MEMORY_WRITE)
def retry(request: HttpRequest, member: MemberPrincipal, write_id: UUID) -> HttpResponse:
    """Let a write that was set aside wait again."""
    perform(request, member, lambda: parking.retry(actor=member.actor, write_id=write_id), AGAIN)
    return redirect("billing_kept", slug=member.slug)


@require_POST
@page(Right.MEMORY_DELETE)
def drop(request: HttpRequest, member: MemberPrincipal, write_id: UUID) -> HttpResponse:
    """Delete a write that has not happened."""
    perform(request, member, lambda: parking.drop(actor=member.actor, write_id=write_id), GONE)
    return redirect("billing_kept", slug=member.slug)
