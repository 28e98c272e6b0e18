"""The billing home: the plan, this period so far and where it leads, caps, notices, the next invoice and credits."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from billing import plan_words
from billing.credits import selectors as credits_of
from billing.invoicing.selectors.bills import bills
from billing.metering.selectors import usage
from billing.models import BillingAccount, Status, Subscription
from billing.money import Money
from billing.plans import ALLOWANCE_METERS, ALLOWANCE_NAMES, FREE, Allowance
from billing.quotas import selectors as quotas
from billing.quotas import services as quota_services
from billing.quotas.forecasts import Forecast, forecast
from billing.selectors import subscriptions as agreed
from billing.selectors.so_far import AllowanceSoFar, SoFar, next_invoice, so_far
from billing.services.time_machine import LEAPS
from capsule_cloud.web.billing_frame import billing_page
from capsule_cloud.web.console import page, perform
from capsule_cloud.web.trend import Trend, trend
from tenancy.access import MemberPrincipal
from tenancy.roles import Right

NEAR, FULL = 0.8, 1.0
_NO_MORE = "nothing more can be added until some is removed or the plan is larger"
_AT_THE_CAP = {
    Allowance.OPERATIONS: "recalls go on, writes are refused until the period ends or the plan is larger",
    Allowance.DOCUMENTS: "no more documents come in until the period ends or the plan is larger",
}


@dataclass(frozen=True, slots=True)
class Meterstick:
    """An allowance as a bar: what was used, of how much, and what that means."""

    name: str
    used: str
    included: str
    share: float
    level: str  # "", warn or bad
    note: str


@require_safe
@page(Right.BILLING_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Everything about money at one look."""
    standing, live, account = so_far(), agreed.live(), agreed.account()
    foretold = forecast(Allowance.OPERATIONS, limit=standing.entitled.allowances[Allowance.OPERATIONS].quantity)
    currency = standing.entitled.plan.currency
    sticks = sticks_of(standing, live)
    return billing_page(
        request,
        member,
        "web/billing.html",
        "billing",
        standing=standing,
        is_free=standing.entitled.plan.key == FREE,
        account=account,
        sticks=sticks,
        trend=_trend(standing, foretold),
        foretold=foretold,
        reach=_reach(foretold),
        next_invoice=next_invoice(standing, live),
        credits=Money(credits_of.balance(currency), currency),
        caps=[(plan_words.quantity(Allowance(cap.allowance), cap.amount), cap) for cap in quotas.caps()[:4]],
        notices=quotas.notices(limit=5),
        parked=quotas.parked(),
        bills=bills(4),
        leaps=LEAPS if settings.STRIPE_SANDBOX and account and account.stripe_customer_id else (),
        **plan_notices(standing, live, account),
    )


def plan_notices(standing: SoFar, live: Subscription | None, account: BillingAccount | None) -> dict[str, Any]:
    """What `web/parts/plan_notices.html` says: caps of the plan that are reached, a trial that ends without a card."""
    is_on_trial = live is not None and live.status == Status.TRIALING
    return {
        "plan": standing.entitled.plan,
        "live": live,
        "full": [one.name.lower() for one in sticks_of(standing, live) if one.level == "bad"],
        "ends_unpaid": is_on_trial and not (account and account.has_payment_method),
    }


@require_POST
@page(Right.BILLING_WRITE)
def dismiss(request: HttpRequest, member: MemberPrincipal, notice_id: UUID) -> HttpResponse:
    """Put a notice away."""
    perform(
        request,
        member,
        lambda: quota_services.dismiss(actor=member.actor, notice_id=notice_id),
        "The notice is put away.",
    )
    return redirect("billing", slug=member.slug)


def sticks_of(standing: SoFar, live: Subscription | None) -> list[Meterstick]:
    """A bar for each allowance of the plan."""
    return [_stick(one, live.seats if live else 0) for one in standing.allowances]


def _stick(one: AllowanceSoFar, bought: int) -> Meterstick:
    """`bought` are the seats that are paid for; those that are included are among them."""
    name = ALLOWANCE_NAMES[one.allowance].partition(" (")[0]
    whole = max(one.included.quantity, bought) if one.allowance is Allowance.SEATS else one.included.quantity
    included = plan_words.quantity(one.allowance, whole)
    if one.used is None:
        return Meterstick(
            name, "\N{EN DASH}", included, 0, "", "Sampled once a day: the first sample is still to come."
        )
    more = plan_words.price_of_more(one.allowance, one.included, one.cost.currency)
    if one.cost.amount:
        level, note = "", f"{one.cost} so far for what is not included."
    elif one.share >= FULL and not more:
        level, note = "bad", f"At the cap: {_AT_THE_CAP.get(one.allowance, _NO_MORE)}."
    elif one.share >= NEAR and not more:
        level, note = "warn", "Close to the cap."
    else:
        level, note = "", f"Then {more}." if more else "A hard cap: nothing above it is ever charged."
    return Meterstick(
        name, plan_words.quantity(one.allowance, one.used), included, one.used / max(1, whole), level, note
    )


def _trend(standing: SoFar, foretold: Forecast) -> Trend | None:
    """The memory operations of the period, day by day; None before there is any."""
    if not foretold.used:
        return None
    first, days = standing.starts_at.date(), max(1, (standing.ends_at - standing.starts_at).days)
    sums: dict[datetime, int] = {}
    for point in usage(since=standing.starts_at, until=standing.ends_at, grain="day").points:
        if point.group["meter"] in ALLOWANCE_METERS[Allowance.OPERATIONS]:
            sums[point.at] = sums.get(point.at, 0) + point.quantity
    passed = min(days, max(1, (standing.as_of.date() - first).days + 1))
    start = standing.starts_at.replace(hour=0, minute=0, second=0, microsecond=0)
    daily = [sums.get(start + timedelta(days=day), 0) for day in range(passed)]
    return trend(daily=daily, first=first, days=days, foretold=foretold)


def _reach(foretold: Forecast) -> str:
    """When what is included is used up, in a sentence."""
    if foretold.limit is None or foretold.used >= foretold.limit:
        return "Everything that is included is used." if foretold.limit is not None else ""
    if foretold.reaches_at is None:
        return "At this pace what is included lasts until the period ends."
    sooner = foretold.earliest_at
    early = f", {sooner:%-d %B} at the earliest" if sooner and sooner.date() < foretold.reaches_at.date() else ""
    return f"At this pace what is included is used up on {foretold.reaches_at:%-d %B}{early}."
