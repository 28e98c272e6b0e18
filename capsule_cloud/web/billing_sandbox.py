"""The time machine of organizations that are billed by the simulator."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from billing.services import time_machine
from capsule_cloud.web.billing_frame import order
from capsule_cloud.web.console import page
from tenancy.access import MemberPrincipal
from tenancy.roles import Right


@require_POST
@page(Right.BILLING_WRITE, is_scoped=False)
def advance(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Let 1, 7 or 40 days pass; 404 where money really moves."""
    text = request.POST.get("days", "")
    days = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0  # no endless number
    order(
        request,
        lambda: time_machine.advance(organization_id=member.organization_id, actor=member.actor, days=days),
        f"{days} day{'' if days == 1 else 's'} have passed. What they brought arrives within seconds.",
    )
    return redirect("billing", slug=member.slug)
