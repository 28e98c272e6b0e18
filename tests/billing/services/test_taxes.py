"""Taxes stand on the preview as on the invoice, line by line and to the cent."""

import random
from typing import Any

import pytest

from billing.models import Document
from billing.sandbox.refusals import Refusal
from billing.services import changes
from billing.services.accounts import customer_of
from billing.stripe_client import client
from billing.stripe_events import refresh
from tenancy.scope import scope
from tests.billing.credits.test_cashier import balance, bought
from tests.billing.shop import give_card, pay_there, publish, to_checkout
from tests.factories import Tenant


@pytest.fixture(autouse=True)
def _taxed(db: None, settings: Any) -> None:
    settings.STRIPE_AUTOMATIC_TAX = True
    publish()


def buy(tenant: Tenant, **details: str) -> str:
    """Go through the checkout, which asks for the country; the subscription."""
    url = to_checkout(tenant)
    session = pay_there(url, **details)
    refresh("subscription", session["subscription"])
    return str(session["subscription"])


@pytest.mark.parametrize("seed", range(4))
def test_a_change_costs_what_its_preview_said_with_tax(tenant: Tenant, seed: int) -> None:
    chance = random.Random(seed)
    buy(tenant, country=chance.choice(["DE", "FI", "LU"]))
    organization = tenant.organization.pk
    preview = changes.preview_change(
        organization_id=organization, plan_key="scale", interval="monthly", seats=chance.randrange(60)
    )
    [tax] = [line for line in preview.lines if line.description.startswith("VAT")]
    assert tax.amount > 0
    assert preview.due_now == sum(line.amount for line in preview.lines)
    changes.apply_change(organization_id=organization, actor=tenant.actor, token=preview.token)
    newest = client().invoices(customer_of(organization), "paid")[0]
    assert newest["amount_paid"] == preview.due_now
    assert sum(one["amount"] for one in newest["total_taxes"]) == tax.amount
    refresh("invoice", newest["id"])
    with scope(tenant.organization):
        kept = Document.objects.get(stripe_id=newest["id"])
    assert (kept.total, kept.tax) == (preview.due_now, tax.amount)


def test_a_business_sees_that_it_owes_the_tax_itself(tenant: Tenant) -> None:
    buy(tenant, country="DE", tax_id="DE123456789")
    preview = changes.preview_change(
        organization_id=tenant.organization.pk, plan_key="scale", interval="monthly", seats=0
    )
    assert ("Reverse charge: tax to be paid by the recipient", 0) in [
        (line.description, line.amount) for line in preview.lines
    ]


def test_a_checkout_without_a_country_sells_nothing(tenant: Tenant) -> None:
    with pytest.raises(Refusal, match="location"):
        buy(tenant)


def test_bought_credits_are_taxed_on_top(tenant: Tenant) -> None:
    buy(tenant, country="DE")
    give_card(tenant)
    purchase = bought(tenant, 2000)
    assert balance(tenant) == 2000
    assert client().retrieve("invoice", purchase.payment_ref)["total"] == 2380
