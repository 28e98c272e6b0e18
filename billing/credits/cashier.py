"""Moves credits and money at Stripe: an invoice of its own for a top-up, a line below zero for what credits pay."""

from billing.credits.services.deductions import Deduction
from billing.credits.services.top_ups import Order, Payment
from billing.services.accounts import ensure_customer
from billing.services.cards import used_method
from billing.stripe_client import StripeRefused, client, taxed


def charge(order: Order) -> Payment:
    """Invoice and collect the order with the card that pays the plan; however often it is tried, Stripe does it once.

    A card that is refused leaves the invoice open for the customer to pay, but voids that of an automatic top-up:
    nobody asked for it. Raises StripeUnavailable or StripeRefused.
    """
    customer = ensure_customer(organization_id=order.organization_id)
    stripe, key = client(), f"top-up:{order.id}"
    draft = stripe.create_invoice(
        {
            "customer": customer,
            "currency": order.currency,
            "collection_method": "charge_automatically",
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "metadata": {"top_up": str(order.id)},
            **taxed(),
        },
        key=f"{key}:invoice",
    )
    line = {"customer": customer, "invoice": draft["id"], "amount": order.amount, "currency": order.currency}
    stripe.set_invoice_item(line | {"description": "Credits"}, key=f"{key}:line")
    invoice = stripe.finalize(draft["id"], key=f"{key}:finalize")
    method = used_method(customer)
    try:
        invoice = stripe.pay(invoice["id"], method=method, key=f"{key}:pay:{method}")
    except StripeRefused as refusal:
        if stripe.retrieve("invoice", invoice["id"])["status"] == "paid":  # by a try whose answer was lost
            return Payment(invoice["id"], is_paid=True)
        if order.is_automatic:
            stripe.void(invoice["id"], key=f"{key}:void")
            return Payment(invoice["id"], is_paid=False, reason=str(refusal))
        return Payment(invoice["id"], is_paid=False, page_url=invoice["hosted_invoice_url"] or "", reason=str(refusal))
    return Payment(invoice["id"], is_paid=invoice["status"] == "paid")


def deduct(deduction: Deduction) -> None:
    """Take credits off a draft, once: for a day by the key, later by the line that says so.

    Raises StripeUnavailable, or StripeRefused where the draft is closed.
    """
    stripe = client()
    draft = stripe.retrieve("invoice", deduction.invoice_ref)
    if any((line.get("metadata") or {}).get("credit") == str(deduction.id) for line in draft["lines"]["data"]):
        return
    stripe.set_invoice_item(
        {
            "customer": draft["customer"],
            "invoice": draft["id"],
            "amount": -deduction.amount,
            "currency": deduction.currency,
            "description": "Paid with credits",
            "discountable": False,
            "metadata": {"credit": str(deduction.id)},
        },
        key=f"credit:{deduction.id}",
    )
