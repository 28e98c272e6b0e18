"""Credits: what is left, in which order it burns, what moved, and buying more, by hand or by themselves."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from billing.credits import selectors
from billing.credits.services import auto_top_ups, top_ups
from billing.money import Money
from billing.selectors import subscriptions as agreed
from capsule_cloud.web.billing_forms import AutoTopUpForm, TopUpForm
from capsule_cloud.web.billing_frame import billing_page
from capsule_cloud.web.console import attempt, page
from tenancy.access import MemberPrincipal
from tenancy.clock import here
from tenancy.roles import Right

PAGE_SIZE = 25
CURRENCY = "usd"


@require_safe
@page(Right.BILLING_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The balance, what burns next, and every movement, newest first; `after` is the last id of the page before."""
    return _show(request, member, TopUpForm(), _auto_form())


@require_POST
@page(Right.BILLING_WRITE)
def buy(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Buy credits with the card on file."""
    form = TopUpForm(request.POST)
    wish = attempt(
        member,
        form,
        lambda: top_ups.request(actor=member.actor, amount=form.cleaned_data["amount"], currency=_currency()),
    )
    if wish is None:
        return _show(request, member, form, _auto_form())
    messages.success(request, f"{Money(wish.amount, wish.currency)} of credits are being paid.")
    return redirect("billing_credits", slug=member.slug)


@require_POST
@page(Right.BILLING_WRITE)
def automate(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Choose when credits buy themselves."""
    form = AutoTopUpForm(request.POST)
    chosen = attempt(
        member,
        form,
        lambda: auto_top_ups.configure(actor=member.actor, currency=_currency(), **form.cleaned_data),
    )
    if chosen is None:
        return _show(request, member, TopUpForm(), form)
    messages.success(request, "Saved.")
    return redirect("billing_credits", slug=member.slug)


def _currency() -> str:
    account = agreed.account()
    return account.currency if account else CURRENCY


def _auto_form() -> AutoTopUpForm:
    chosen = selectors.auto_top_up(_currency())
    names = ("is_on", "threshold", "amount", "monthly_maximum")
    return AutoTopUpForm(initial={name: getattr(chosen, name) for name in names} if chosen else None)


def _show(
    request: HttpRequest, member: MemberPrincipal, top_up_form: TopUpForm, auto_form: AutoTopUpForm
) -> HttpResponse:
    currency, now = _currency(), here()  # credits expire by the organization's clock
    movements = selectors.entries(after=_after(request), limit=PAGE_SIZE + 1)
    balance = selectors.balance(currency, now=now)
    return billing_page(
        request,
        member,
        "web/billing_credits.html",
        "billing_credits",
        422 if top_up_form.errors or auto_form.errors else 200,
        balance=Money(balance, currency),
        owed=Money(selectors.owed(currency), currency),
        currency=currency,
        as_of_now=timezone.now(),
        burning=list(selectors.in_burn_order(currency, now)),
        movements=movements[:PAGE_SIZE],
        more=movements[PAGE_SIZE - 1].pk if len(movements) > PAGE_SIZE else None,
        is_first="after" not in request.GET,
        waiting=[one for one in selectors.top_ups(10) if one.state in {"requested", "open", "failed"}],
        auto=selectors.auto_top_up(currency),
        top_up_form=top_up_form,
        auto_form=auto_form,
    )


def _after(request: HttpRequest) -> UUID | None:
    text = request.GET.get("after", "")
    try:
        return UUID(text) if text else None
    except ValueError:
        raise Http404 from None
