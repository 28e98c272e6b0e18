"""Plans for sale in the simulator, and customers with cards who buy them."""

from billing.services import catalogue
from billing.services.accounts import ensure_customer
from billing.stripe_client import client
from tests.factories import Tenant

GOOD_CARD, DECLINED_CARD = "pm_card_visa", "pm_card_chargeCustomerFail"


def publish() -> None:
    """Put every plan that is sold into the simulator; once is enough, twice does no harm."""
    catalogue.push(client())


def give_card(tenant: Tenant, card: str = GOOD_CARD) -> str:
    """Put a test card on the tenant's file; the customer's id."""
    customer = ensure_customer(organization_id=tenant.organization.pk)
    stripe = client()
    method = stripe._post(f"payment_methods/{card}/attach", {"customer": customer}, "")
    stripe.update_customer(customer, {"invoice_settings": {"default_payment_method": method["id"]}}, key="")
    return customer
