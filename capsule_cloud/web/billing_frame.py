"""What the billing pages share: their tabs, the sandbox's label, and how refusals of Stripe and of ours are told."""

from collections.abc import Callable
from typing import Any, TypeVar

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from billing.invoicing.selectors.contracts import contracts
from billing.stripe_client import StripeRefused, StripeUnavailable
from capsule_cloud.web.console import show
from capsule_cloud.web.middleware import POLICY
from tenancy.access import MemberPrincipal
from tenancy.errors import Invalid, NotFound, TenancyError
from tenancy.scope import scope

Result = TypeVar("Result")
TABS = (
    ("Overview", "billing"),
    ("Plan", "billing_plan"),
    ("Contract", "billing_contract"),
    ("Invoices", "billing_invoices"),
    ("Credits", "billing_credits"),
    ("Caps and alerts", "billing_caps"),
    ("Details", "billing_details"),
)
# A form of these pages may end on a page of Stripe's: the answer to the POST leads there
PAYING_POLICY = POLICY.replace("form-action 'self'", "form-action 'self' https://*.stripe.com")


def billing_page(
    request: HttpRequest, member: MemberPrincipal, template: str, tab: str, status: int = 200, **context: Any
) -> HttpResponse:
    """A page of billing under its tabs; to be called within the member's scope, as `show` is."""
    has_contract = tab == "billing_contract" or bool(contracts())
    shown = [(label, name) for label, name in TABS if name != "billing_contract" or has_contract]
    tabs = [(label, reverse(name, kwargs={"slug": member.slug}), name == tab) for label, name in shown]
    context |= {"tabs": tabs, "is_sandbox": settings.STRIPE_SANDBOX}
    answer = show(request, member, template, "billing", status, **context)
    answer["Content-Security-Policy"] = PAYING_POLICY
    return answer


def return_url(member: MemberPrincipal, name: str) -> str:
    """The whole address of a page of ours, for Stripe to lead back to."""
    return f"{settings.PUBLIC_URL}{reverse(name, kwargs={'slug': member.slug})}"


def reason(failure: Exception) -> str:
    """What to tell about an expected failure."""
    if isinstance(failure, StripeUnavailable):
        return f"The payment service cannot be reached: nothing is lost, try again in {failure.retry_after} seconds."
    return str(failure)


def order(request: HttpRequest, call: Callable[[], Result], done: str = "") -> Result | None:
    """Run one service call of a button, outside any scope; `done` or the reason of a failure becomes the message."""
    try:
        result = call()
    except NotFound as failure:
        raise Http404 from failure
    except (TenancyError, StripeRefused, StripeUnavailable) as failure:
        messages.error(request, reason(failure))
        return None
    if done:
        messages.success(request, done)
    return result


def submit(form: forms.Form, call: Callable[[], object]) -> bool:
    """Run one service call with what was typed, outside any scope; an expected failure becomes an error of the form."""
    if not form.is_valid():  # a form without data is not
        return False
    try:
        call()
    except NotFound as failure:
        raise Http404 from failure
    except (TenancyError, StripeRefused, StripeUnavailable) as failure:
        field = failure.field if isinstance(failure, Invalid) else None
        form.add_error(field if field in form.fields else None, reason(failure))
        return False
    return True


def read(member: MemberPrincipal, call: Callable[[], Result]) -> Result:
    """What a read says within the member's scope, which ends at once."""
    with scope(member.organization_id):
        return call()
