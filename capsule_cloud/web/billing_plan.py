"""The plan: the catalogue as cards, what a change costs before it is made, and the way back."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from billing import plan_words
from billing.models import BillingAccount, SeatPolicy, Subscription
from billing.money import Money
from billing.plans import ALLOWANCE_NAMES, FEATURE_NAMES, FREE, Allowance, Feature, Interval, Plan, sold
from billing.selectors import subscriptions as agreed
from billing.selectors.entitlements import effective
from billing.services import changes, subscriptions
from billing.services.prices import MOST_SEATS
from billing.stripe_client import StripeRefused, StripeUnavailable
from capsule_cloud.web.billing_frame import billing_page, order, read, reason, return_url
from capsule_cloud.web.console import page
from tenancy.access import MemberPrincipal
from tenancy.errors import TenancyError
from tenancy.roles import Right
from tenancy.scope import scope


class ChoiceForm(forms.Form):
    """A plan, how often it is paid and for how many people; the services say whether it can be had."""

    plan = forms.ChoiceField(choices=lambda: [(one.key, one.name) for one in sold()])
    interval = forms.ChoiceField(choices=[(one.value, one.value) for one in Interval], required=False)
    seats = forms.IntegerField(min_value=1, max_value=MOST_SEATS, required=False)

    def clean_interval(self) -> str:
        """Monthly where nothing is said."""
        return self.cleaned_data["interval"] or Interval.MONTHLY.value

    def clean_seats(self) -> int:
        """0, the seats that are included, where nothing is said."""
        return self.cleaned_data["seats"] or 0


@dataclass(frozen=True, slots=True)
class Card:
    """A plan of the catalogue as this organization sees it."""

    plan: Plan
    price: Money
    note: str
    included: list[tuple[str, str, str]]  # name, how much, what more costs
    limits: list[tuple[str, str]]  # how many, of what
    features: list[str]
    is_current: bool
    is_smaller: bool
    has_trial: bool


@require_safe
@page(Right.BILLING_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The plan that holds, what is ordered for later, and every plan that is sold."""
    live, account = agreed.live(), agreed.account()
    entitled = effective()
    interval = Interval.YEARLY if request.GET.get("interval") == Interval.YEARLY else Interval.MONTHLY
    if live and "interval" not in request.GET:
        interval = Interval(live.interval)
    return billing_page(
        request,
        member,
        "web/billing_plan.html",
        "billing_plan",
        live=live,
        account=account,
        source=entitled.source,
        plan=entitled.plan,
        scheduled=_scheduled(live),
        ends_at=live and (live.cancel_at or live.scheduled_at),
        overrides=entitled.overrides,
        seats_are_named=account is None or account.seat_policy == SeatPolicy.NAMED,
        most_seats=MOST_SEATS,
        interval=interval.value,
        cards=[_card(one, entitled.plan, interval, live, account) for one in sold()],
        is_back=request.GET.get("done") == "1",
    )


@require_safe
@page(Right.BILLING_WRITE, is_scoped=False)
def change(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """What another plan, interval or number of people would cost, to the cent, or why it cannot be had now."""
    form = ChoiceForm(request.GET)
    if not form.is_valid():
        messages.error(request, f"Choose a plan, and from 1 to {MOST_SEATS:,} people.")
        return redirect("billing_plan", slug=member.slug)
    wanted: dict[str, Any] = form.cleaned_data
    live, plan, reasons = read(member, lambda: _standing(wanted["plan"]))
    target = next(one for one in sold() if one.key == wanted["plan"])
    is_later = live is not None and target.monthly < plan.monthly
    context = wanted | {"plan": plan, "target": target, "live": live, "is_later": is_later, "reasons": reasons}
    status = 200
    if live is None:
        return redirect("billing_plan", slug=member.slug)
    if not is_later:
        try:
            preview = changes.preview_change(
                organization_id=member.organization_id,
                plan_key=target.key,
                interval=wanted["interval"],
                seats=wanted["seats"],
            )
        except StripeUnavailable as failure:
            context["refusal"], status = reason(failure), 503
        except (TenancyError, StripeRefused) as failure:
            context["refusal"], status = reason(failure), 409
        else:
            context |= _shown(preview)
    with scope(member.organization_id):
        return billing_page(request, member, "web/billing_change.html", "billing_plan", status, **context)


@require_POST
@page(Right.BILLING_WRITE, is_scoped=False)
def confirm(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Make the change that was previewed, for exactly what the preview said."""
    order(
        request,
        lambda: changes.apply_change(
            organization_id=member.organization_id, actor=member.actor, token=request.POST.get("token", "")
        ),
        "The change is made.",
    )
    return redirect("billing_plan", slug=member.slug)


@require_POST
@page(Right.BILLING_WRITE, is_scoped=False)
def buy(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """To the page where a first plan is paid for, or straight into its trial."""
    form = ChoiceForm(request.POST)
    if not form.is_valid():
        messages.error(request, f"Choose a plan, and from 1 to {MOST_SEATS:,} people.")
        return redirect("billing_plan", slug=member.slug)
    wanted: dict[str, Any] = form.cleaned_data
    if "trial" in request.POST:
        order(
            request,
            lambda: subscriptions.start_trial(
                organization_id=member.organization_id, actor=member.actor, plan_key=wanted["plan"]
            ),
            "The trial has begun. Without a card it simply ends.",
        )
        return redirect("billing_plan", slug=member.slug)
    url = order(
        request,
        lambda: subscriptions.checkout(
            organization_id=member.organization_id,
            actor=member.actor,
            plan_key=wanted["plan"],
            interval=wanted["interval"],
            seats=wanted["seats"],
            return_url=return_url(member, "billing_plan"),
        ),
    )
    return redirect(url) if url else redirect("billing_plan", slug=member.slug)


@require_POST
@page(Right.BILLING_WRITE, is_scoped=False)
def later(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Go to a smaller plan, or to none, when the period ends."""
    form = ChoiceForm(request.POST)
    if form.is_valid():
        order(
            request,
            lambda: subscriptions.schedule_downgrade(
                organization_id=member.organization_id,
                actor=member.actor,
                plan_key=form.cleaned_data["plan"],
                interval=form.cleaned_data["interval"],
            ),
            "Done. Until the period ends everything stays, and you can take it back.",
        )
    return redirect("billing_plan", slug=member.slug)


@require_POST
@page(Right.BILLING_WRITE, is_scoped=False)
def undo(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Take back what was ordered for the end of the period."""
    live = read(member, agreed.live)
    ways = subscriptions.resume if live and live.cancel_at else subscriptions.cancel_schedule
    order(request, lambda: ways(organization_id=member.organization_id, actor=member.actor), "Your plan stays.")
    return redirect("billing_plan", slug=member.slug)


@require_POST
@page(Right.BILLING_WRITE, is_scoped=False)
def redeem(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Put a promotion code on the subscription."""
    code = request.POST.get("code", "")[:100]
    order(
        request,
        lambda: subscriptions.redeem(organization_id=member.organization_id, actor=member.actor, code=code),
        "The code counts from the next invoice on.",
    )
    return redirect("billing_plan", slug=member.slug)


def _standing(key: str) -> tuple[Subscription | None, Plan, list[str]]:
    target = next(one for one in sold() if one.key == key)
    return agreed.live(), effective().plan, agreed.blockers(target)


def _shown(preview: changes.Preview) -> dict[str, Any]:
    lines = [(line.description, Money(line.amount, preview.currency)) for line in preview.lines]
    amounts = {name: Money(getattr(preview, name), preview.currency) for name in ("due_now", "credit", "next_invoice")}
    return {"lines": lines, "token": preview.token, "has_credit": preview.credit > 0, **amounts}


def _scheduled(live: Subscription | None) -> str:
    """The name of the plan that comes at the end of the period, if another does."""
    if live is None:
        return ""
    if live.cancel_at:
        return "Free"
    return next((one.name for one in sold() if one.key == live.scheduled_plan_key), "")


def _card(one: Plan, mine: Plan, interval: Interval, live: Subscription | None, account: BillingAccount | None) -> Card:
    price = Money(one.yearly // 12 if interval is Interval.YEARLY else one.monthly, one.currency)
    note = f"{Money(one.yearly, one.currency)} a year" if interval is Interval.YEARLY and one.yearly else ""
    has_had_trial = account is not None and account.has_had_trial
    return Card(
        plan=one,
        price=price,
        note=note,
        included=[
            (
                ALLOWANCE_NAMES[allowance].partition(" (")[0],
                plan_words.quantity(allowance, one.allowances[allowance].quantity),
                plan_words.price_of_more(allowance, one.allowances[allowance], one.currency),
            )
            for allowance in Allowance
        ],
        limits=[(f"{one.limits[key]:,}", name) for key, name in plan_words.LIMIT_NAMES.items()],
        features=[FEATURE_NAMES[feature] for feature in Feature if feature in one.features],
        is_current=one.key == mine.key,
        is_smaller=one.monthly < mine.monthly,
        has_trial=bool(one.trial_days) and one.key != FREE and live is None and not has_had_trial,
    )
