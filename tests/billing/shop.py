"""Plans for sale in the simulator, and customers with cards who buy them."""

from typing import Any

from django.utils import timezone

from billing.models import StripeEvent
from billing.sandbox import checkout as pages
from billing.sandbox import keys
from billing.sandbox.models import Delivery
from billing.sandbox.store import Books
from billing.services import catalogue, subscriptions
from billing.services.accounts import ensure_customer
from billing.stripe_client import client
from tests.factories import Tenant

GOOD_CARD, DECLINED_CARD = "pm_card_visa", "pm_card_chargeCustomerFail"


def publish() -> None:
    """Put every plan that is sold into the simulator; once is enough, twice does no harm."""
    catalogue.push(client())


def end_what_is_under_way() -> None:
    """Owe nobody the webhooks that other tests left, to hosts that take seconds not to be found, and hear none."""
    Delivery.objects.filter(done_at=None).update(done_at=timezone.now())
    StripeEvent.objects.filter(status="new").update(status="done")


def give_card(tenant: Tenant, card: str = GOOD_CARD) -> str:
    """Put a test card on the tenant's file; the customer's id."""
    customer = ensure_customer(organization_id=tenant.organization.pk)
    stripe = client()
    method = stripe._post(f"payment_methods/{card}/attach", {"customer": customer}, "")
    stripe.update_customer(customer, {"invoice_settings": {"default_payment_method": method["id"]}}, key="")
    return customer


def to_checkout(tenant: Tenant, return_url: str = "http://testserver/o/x/billing/") -> str:
    """Where the tenant's owner pays for Pro, monthly."""
    return subscriptions.checkout(
        organization_id=tenant.organization.pk,
        actor=tenant.actor,
        plan_key="pro",
        interval="monthly",
        seats=0,
        return_url=return_url,
    )


def pay_there(url: str, **details: str) -> dict[str, Any]:
    """Pay with a good card on a checkout's page; the session at Stripe, of which nobody here has heard yet."""
    session: dict[str, Any] = pages.complete(Books(keys.ACCOUNT), url.rsplit("/", 1)[1], "visa", details)
    return session
