"""Seats: what more or fewer people cost, before it is paid for."""

from dataclasses import dataclass

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from billing.money import Money
from billing.plans import Allowance
from billing.selectors import subscriptions as agreed
from billing.selectors.entitlements import effective
from billing.services.prices import MOST_SEATS
from billing.services.seats import SeatPreview, preview_seats, set_previewed_seats
from billing.stripe_client import StripeRefused, StripeUnavailable
from capsule_cloud.web.billing_frame import billing_page, order, read, reason
from capsule_cloud.web.console import page
from tenancy.access import MemberPrincipal
from tenancy.errors import TenancyError
from tenancy.roles import Right
from tenancy.scope import scope


class SeatsForm(forms.Form):
    """For how many people."""

    seats = forms.IntegerField(min_value=1, max_value=MOST_SEATS)


@dataclass(frozen=True, slots=True)
class ShownSeats:
    """A preview as people read it."""

    preview: SeatPreview
    charge: Money
    line: Money
    monthly: Money


@require_http_methods(["GET", "HEAD", "POST"])
@page(Right.BILLING_WRITE, is_scoped=False)
def seats(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """What so many seats cost; asked for as many as there are, what one more and one fewer does. Posted: buy them."""
    if request.method == "POST":
        token = request.POST.get("token", "")[:1000]
        organization_id, actor = member.organization_id, member.actor
        order(
            request,
            lambda: set_previewed_seats(organization_id=organization_id, actor=actor, token=token),
            "Saved. More seats can be filled at once; fewer cost less from the next period on.",
        )
        return redirect("billing_plan", slug=member.slug)
    live, plan = read(member, lambda: (agreed.live(), effective().plan))
    form = SeatsForm(request.GET)
    if live is None or not form.is_valid():
        messages.error(request, f"Choose from 1 to {MOST_SEATS:,} people.")
        return redirect("billing_plan", slug=member.slug)
    wanted = form.cleaned_data["seats"]
    shown: list[ShownSeats] = []
    refusal, status = "", 200
    numbers = [wanted] if wanted != live.seats else [wanted + 1, max(1, wanted - 1)]
    try:
        shown = [_shown(preview_seats(organization_id=member.organization_id, seats=number)) for number in numbers]
    except StripeUnavailable as failure:
        refusal, status = reason(failure), 503
    except (TenancyError, StripeRefused) as failure:
        refusal, status = reason(failure), 409
    is_part = bool(request.headers.get("HX-Request"))
    included = plan.allowances[Allowance.SEATS].quantity
    context = {
        "live": live,
        "seat_line": Money(live.seat_line_amount, plan.currency),
        "monthly_now": Money(max(0, live.seats - included) * plan.seat, plan.currency),
        "wanted": wanted,
        "is_same": wanted == live.seats,
        "shown": [one for one in shown if one.preview.seats != live.seats],
        "refusal": refusal,
    }
    template = "web/billing_seats_part.html" if is_part else "web/billing_seats.html"
    with scope(member.organization_id):
        # htmx puts nothing into the page for an answer that failed: the reason has to come as one that did not
        return billing_page(request, member, template, "billing_plan", 200 if is_part else status, **context)


def _shown(preview: SeatPreview) -> ShownSeats:
    charge, line, monthly = (
        Money(amount, preview.currency) for amount in (preview.charge, preview.line, preview.monthly)
    )
    return ShownSeats(preview, charge, line, monthly)
