"""Reads the cards that a customer has at Stripe: what is printed on them that we may know, never their numbers.

Nothing here may be called inside a scope: Stripe is asked, and never in an open transaction.
"""

from dataclasses import dataclass
from uuid import UUID

from billing.models import ENDED, BillingAccount
from billing.stripe_client import client
from tenancy.scope import scope


@dataclass(frozen=True, slots=True)
class Card:
    """A card on file; `is_used` is the one that invoices are paid with."""

    brand: str
    last4: str
    expires_month: int
    expires_year: int
    is_used: bool


def cards(*, organization_id: UUID) -> list[Card]:
    """The cards on file as Stripe has them now, the one that pays first. Raises StripeUnavailable or StripeRefused."""
    with scope(organization_id):
        account = BillingAccount.objects.first()
    if account is None or not account.stripe_customer_id:
        return []
    found = client().cards(account.stripe_customer_id)
    if not found:
        return []
    used = used_method(account.stripe_customer_id)
    made = [
        Card(
            brand=one["card"]["display_brand"] or one["card"]["brand"],
            last4=one["card"]["last4"],
            expires_month=one["card"]["exp_month"],
            expires_year=one["card"]["exp_year"],
            is_used=one["id"] == used,
        )
        for one in found
    ]
    return sorted(made, key=lambda card: not card.is_used)


def used_method(customer: str) -> str:
    """The id of what pays: the live subscription's own (Checkout leaves it there), else the customer's; or empty.

    Stripe looks at the customer's alone for an invoice outside the subscription. Raises as `cards` does.
    """
    found = client().retrieve("customer", customer)
    holders = [one for one in (found.get("subscriptions") or {"data": []})["data"] if one["status"] not in ENDED]
    holders.append(found.get("invoice_settings") or {})
    return next((one["default_payment_method"] for one in holders if one.get("default_payment_method")), "")
