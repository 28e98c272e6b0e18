"""Stripe's objects, as far as we read them."""

import time
from typing import Any
from uuid import uuid4

from billing.models import BillingAccount
from billing.plans import current
from tenancy.scope import scope
from tests.factories import Tenant

Json = dict[str, Any]
DAY = 86_400


def new_id(prefix: str) -> str:
    """An id as Stripe's look."""
    return f"{prefix}_{uuid4().hex}"


def make_customer(tenant: Tenant) -> str:
    """Link the tenant to a customer; its id."""
    customer = new_id("cus")
    with scope(tenant.organization):
        BillingAccount.objects.update_or_create(defaults={"stripe_customer_id": customer})
    return customer


def customer_object(tenant: Tenant, customer: str, **changes: Any) -> Json:
    """The customer of the tenant."""
    return {
        "id": customer,
        "object": "customer",
        "created": int(time.time()),
        "livemode": False,
        "email": "pay@example.com",
        "name": "Payer Ltd",
        "metadata": {"organization": str(tenant.organization.pk)},
        "invoice_settings": {"default_payment_method": None},
        "tax_ids": {"data": []},
    } | changes


def item_object(lookup_key: str, quantity: int | None = 1, start: int | None = None) -> Json:
    """An item of a subscription, of the price with this lookup key."""
    began = start or int(time.time()) - DAY
    return {
        "id": new_id("si"),
        "object": "subscription_item",
        "price": {"id": new_id("price"), "object": "price", "lookup_key": lookup_key},
        "quantity": quantity,
        "current_period_start": began,
        "current_period_end": began + 30 * DAY,
    }


def subscription_object(customer: str, plan: str = "pro", *, seats: int = 0, **changes: Any) -> Json:
    """A monthly subscription to the plan, with so many people beyond those included."""
    items = [item_object(current(plan).lookup_key("monthly"))]
    if seats:
        items.append(item_object(current(plan).lookup_key("seat"), seats))
    return {
        "id": new_id("sub"),
        "object": "subscription",
        "created": int(time.time()),
        "livemode": False,
        "customer": customer,
        "status": "active",
        "items": {"data": items},
        "metadata": {},
    } | changes


def invoice_object(customer: str, **changes: Any) -> Json:
    """An open invoice of 29.00 that nobody has tried to collect."""
    moment = int(time.time())
    return {
        "id": new_id("in"),
        "object": "invoice",
        "created": moment,
        "livemode": False,
        "customer": customer,
        "status": "open",
        "number": "A-1",
        "currency": "usd",
        "total": 29_00,
        "amount_due": 29_00,
        "amount_paid": 0,
        "amount_remaining": 29_00,
        "attempt_count": 0,
        "due_date": None,
        "hosted_invoice_url": "https://pay.example.com/1",
        "invoice_pdf": "https://pay.example.com/1.pdf",
        "period_start": moment - DAY,
        "period_end": moment,
        "status_transitions": {"finalized_at": moment, "paid_at": None, "voided_at": None},
        "parent": None,
        "metadata": {},
    } | changes
