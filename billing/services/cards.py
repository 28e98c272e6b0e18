"""Reads the cards that a customer has at Stripe: what is printed on them that we may know, never their numbers.

Nothing here may be called inside a scope: Stripe is asked, and never in an open transaction.
"""

from dataclasses import dataclass
from uuid import UUID

from billing.models import ENDED, BillingAccount, Subscription
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
        row = Subscription.objects.exclude(status__in=ENDED).exclude(stripe_id=None).first()
    if account is None or not account.stripe_customer_id:
        return []
    found = client().cards(account.stripe_customer_id)
    if not found:
        return []
    chosen = client().retrieve("subscription", str(row.stripe_id)).get("default_payment_method") if row else None
    if not chosen:
        customer = client().retrieve("customer", account.stripe_customer_id)
        chosen = (customer.get("invoice_settings") or {}).get("default_payment_method")
    used = chosen["id"] if isinstance(chosen, dict) else chosen
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
