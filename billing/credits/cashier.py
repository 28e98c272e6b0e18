"""Takes the money for a top-up from the card on file, by an invoice of its own at Stripe."""

from billing.credits.services.top_ups import Order, Payment
from billing.services.accounts import ensure_customer
from billing.stripe_client import StripeRefused, client


def charge(order: Order) -> Payment:
    """Invoice and collect the order; however often it is tried, Stripe does it once.

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
        },
        key=f"{key}:invoice",
    )
    line = {"customer": customer, "invoice": draft["id"], "amount": order.amount, "currency": order.currency}
    stripe.set_invoice_item(line | {"description": "Credits"}, key=f"{key}:line")
    invoice = stripe.finalize(draft["id"], key=f"{key}:finalize")
    try:
        invoice = stripe.pay(invoice["id"], key=f"{key}:pay")
    except StripeRefused as refusal:
        if order.is_automatic:
            stripe.void(invoice["id"], key=f"{key}:void")
            return Payment(invoice["id"], is_paid=False, reason=str(refusal))
        return Payment(invoice["id"], is_paid=False, page_url=invoice["hosted_invoice_url"] or "", reason=str(refusal))
    return Payment(invoice["id"], is_paid=invoice["status"] == "paid")
