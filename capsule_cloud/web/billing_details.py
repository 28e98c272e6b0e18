"""Whom invoices name and who gets them, tax ids, cards on Stripe's own page, and which people are paid for."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from billing.models import BillingAccount, SeatPolicy
from billing.selectors import subscriptions as agreed
from billing.services import accounts, subscriptions
from billing.services.cards import Card
from billing.services.cards import cards as cards_of
from billing.stripe_client import StripeRefused, StripeUnavailable
from capsule_cloud.web.billing_forms import TAX_IDS, DetailsForm, SeatPolicyForm, TaxIdForm
from capsule_cloud.web.billing_frame import billing_page, order, reason, return_url, submit
from capsule_cloud.web.console import page
from tenancy.access import MemberPrincipal
from tenancy.roles import Right
from tenancy.scope import scope


@require_safe
@page(Right.BILLING_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Everything that stands on an invoice beside its lines."""
    return _show(request, member)


@require_POST
@page(Right.BILLING_WRITE, is_scoped=False)
def update(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Change the name, the address, the order number and who gets invoices."""
    form = DetailsForm(request.POST)
    saved = submit(
        form,
        lambda: accounts.set_details(
            organization_id=member.organization_id,
            actor=member.actor,
            details=accounts.Details(
                legal_name=form.cleaned_data["legal_name"],
                invoice_emails=form.cleaned_data["invoice_emails"],
                po_number=form.cleaned_data["po_number"],
                address=form.address(),
            ),
        ),
    )
    if not saved:
        with scope(member.organization_id):
            return _show(request, member, details_form=form)
    messages.success(request, "Saved. Invoices from now on say so.")
    return redirect("billing_details", slug=member.slug)


@require_POST
@page(Right.BILLING_WRITE, is_scoped=False)
def add_tax_id(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Add a tax id."""
    form = TaxIdForm(request.POST)
    saved = submit(
        form,
        lambda: accounts.add_tax_id(
            organization_id=member.organization_id,
            actor=member.actor,
            kind=form.cleaned_data["kind"],
            value=form.cleaned_data["tax_id"],
        ),
    )
    if not saved:
        with scope(member.organization_id):
            return _show(request, member, tax_form=form)
    messages.success(request, "The tax id is added.")
    return redirect("billing_details", slug=member.slug)


@require_POST
@page(Right.BILLING_WRITE, is_scoped=False)
def remove_tax_id(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Take a tax id away."""
    tax_id = request.POST.get("id", "")[:255]
    order(
        request,
        lambda: accounts.remove_tax_id(organization_id=member.organization_id, actor=member.actor, tax_id=tax_id),
        "The tax id is removed.",
    )
    return redirect("billing_details", slug=member.slug)


@require_POST
@page(Right.BILLING_WRITE, is_scoped=False)
def portal(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """To Stripe's own page for cards."""
    url = order(
        request,
        lambda: subscriptions.portal(
            organization_id=member.organization_id,
            actor=member.actor,
            return_url=return_url(member, "billing_details"),
        ),
    )
    return redirect(url) if url else redirect("billing_details", slug=member.slug)


@require_safe
@page(Right.BILLING_READ, is_scoped=False)
def cards(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The cards as Stripe has them now: a part of the page, because Stripe may be slow."""
    found: list[Card] = []
    refusal = ""
    try:
        found = cards_of(organization_id=member.organization_id)
    except (StripeUnavailable, StripeRefused) as failure:
        refusal = reason(failure)
    is_part = bool(request.headers.get("HX-Request"))
    template = "web/billing_cards_part.html" if is_part else "web/billing_cards.html"
    with scope(member.organization_id):
        return billing_page(request, member, template, "billing_details", cards=found, refusal=refusal)


@require_POST
@page(Right.BILLING_WRITE, is_scoped=False)
def seat_policy(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Choose which people are paid for."""
    form = SeatPolicyForm(request.POST)
    saved = submit(
        form,
        lambda: accounts.set_seat_policy(
            organization_id=member.organization_id, actor=member.actor, policy=form.cleaned_data["seat_policy"]
        ),
    )
    if not saved:
        with scope(member.organization_id):
            return _show(request, member, seat_form=form)
    messages.success(request, "Saved.")
    return redirect("billing_details", slug=member.slug)


def _show(
    request: HttpRequest,
    member: MemberPrincipal,
    details_form: DetailsForm | None = None,
    tax_form: TaxIdForm | None = None,
    seat_form: SeatPolicyForm | None = None,
) -> HttpResponse:
    account = agreed.account()
    is_refused = any(form is not None for form in (details_form, tax_form, seat_form))
    kinds = dict(TAX_IDS)
    return billing_page(
        request,
        member,
        "web/billing_details.html",
        "billing_details",
        422 if is_refused else 200,
        account=account,
        tax_ids=[(one, kinds.get(one["type"], one["type"])) for one in account.tax_ids] if account else [],
        details_form=details_form or DetailsForm(initial=_known(account)),
        tax_form=tax_form or TaxIdForm(),
        seat_form=seat_form
        or SeatPolicyForm(initial={"seat_policy": account.seat_policy if account else SeatPolicy.NAMED}),
    )


def _known(account: BillingAccount | None) -> dict[str, object]:
    if account is None:
        return {}
    known = {name: getattr(account, name) for name in ("legal_name", "invoice_emails", "po_number")}
    return known | dict(account.address)
