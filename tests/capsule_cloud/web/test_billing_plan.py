"""The plan's page: what is sold, what a change costs before it is made, and the way back."""

import re
from typing import Any

import pytest
from django.test import Client

from billing.models import BillingAccount, Subscription
from billing.money import Money
from billing.plans import sold
from billing.sandbox import checkout as pages
from billing.sandbox import keys
from billing.sandbox.store import Books
from billing.selectors.subscriptions import live
from billing.services import changes
from billing.stripe_client import client
from billing.stripe_events import refresh
from tenancy.roles import Role
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.capsule_cloud.web.conftest import Page, SignIn
from tests.factories import Tenant, add_member


def subscription_of(tenant: Tenant) -> Subscription | None:
    with scope(tenant.organization):
        return live()


def token_in(text: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', text)
    assert found is not None
    return found.group(1)


def test_every_plan_of_the_catalogue_is_a_card(page: Page) -> None:
    text = page("billing/plan/")
    for plan in sold():
        assert f'id="plan-{plan.key}"' in text
    assert "$29.00" in text
    assert "then $0.12 for 1,000 operations" in text
    assert "You are on the free plan" in text
    yearly = page("billing/plan/?interval=yearly")
    assert "$24.16" in yearly
    assert "$290.00 a year" in yearly


def test_a_plan_is_bought_on_the_payment_page(tenant: Tenant, owner: Client, home: str, shop: None) -> None:
    answer = owner.post(f"{home}billing/plan/buy/", {"plan": "pro", "interval": "monthly"})
    assert answer.status_code == 302
    assert "/checkout/" in answer["Location"]
    assert subscription_of(tenant) is None
    assert "as soon as the payment is confirmed" in owner.get(f"{home}billing/plan/?done=1").content.decode()
    refresh(
        "subscription",
        pages.complete(Books(keys.ACCOUNT), answer["Location"].rsplit("/", 1)[1], "visa", {})["subscription"],
    )
    assert "you are on Pro now" in owner.get(f"{home}billing/plan/?done=1").content.decode()


def test_a_trial_begins_without_a_card_and_only_once(tenant: Tenant, page: Page, post: Page, shop: None) -> None:
    assert "Try 14 days, no card" in page("billing/plan/")
    text = post("billing/plan/buy/", {"plan": "pro", "trial": "1"})
    assert "The trial has begun" in text
    assert "Trial ends" in text
    assert "no card" not in page("billing/plan/")
    assert "There is a subscription already" in post("billing/plan/buy/", {"plan": "scale", "trial": "1"})


def test_a_change_costs_exactly_what_the_preview_says(tenant: Tenant, page: Page, post: Page, buy: Buy) -> None:
    buy(tenant, "pro")
    preview = page("billing/plan/change/?plan=scale&interval=monthly")
    due = re.search(r"Confirm and pay (\$[\d.,]+)", preview)
    assert due is not None
    assert "From Pro to Scale" in preview
    assert "$249.00" in preview
    text = post("billing/plan/confirm/", {"token": token_in(preview)})
    assert "The change is made." in text
    row = subscription_of(tenant)
    assert row is not None
    assert row.plan_key == "scale"
    with scope(tenant.organization):
        customer = BillingAccount.objects.get().stripe_customer_id
    newest = next(iter(client()._pages("invoices", {"customer": customer})))
    assert str(Money(newest["amount_paid"], "usd")) == due.group(1)


def test_a_forged_or_foreign_confirmation_changes_nothing(
    tenant: Tenant, stranger: Tenant, post: Page, buy: Buy
) -> None:
    buy(tenant, "pro")
    buy(stranger, "pro")
    theirs = changes.preview_change(
        organization_id=stranger.organization.pk, plan_key="scale", interval="monthly", seats=0
    )
    for token in ("", "forged", theirs.token):
        assert "This is no preview of ours." in post("billing/plan/confirm/", {"token": token})
    row = subscription_of(tenant)
    assert row is not None
    assert row.plan_key == "pro"


def test_a_smaller_plan_begins_at_the_period_s_end_and_can_be_taken_back(
    tenant: Tenant, page: Page, post: Page, buy: Buy
) -> None:
    buy(tenant, "scale")
    assert "begins when what you have paid for ends" in page("billing/plan/change/?plan=pro&interval=monthly")
    text = post("billing/plan/later/", {"plan": "pro", "interval": "monthly"})
    assert "Pro begins on" in text
    assert "Keep Scale" in text
    text = post("billing/plan/undo/")
    assert "Your plan stays." in text
    assert "Pro begins on" not in text


def test_a_cancellation_can_be_taken_back(tenant: Tenant, post: Page, page: Page, buy: Buy) -> None:
    buy(tenant, "pro")
    assert "nothing is charged, and its caps hold" in page("billing/plan/change/?plan=free")
    assert "Free begins on" in post("billing/plan/later/", {"plan": "free"})
    assert "Free begins on" not in post("billing/plan/undo/")
    row = subscription_of(tenant)
    assert row is not None
    assert row.cancel_at is None


def test_a_plan_that_is_too_small_is_refused_with_every_reason(
    tenant: Tenant, post: Page, page: Page, buy: Buy
) -> None:
    buy(tenant, "pro", seats=14)
    for number in range(11):
        add_member(tenant, Role.VIEWER, f"Member{number}")
    reason = "There are 12 members and Free has 10: remove 2 first."
    assert reason in page("billing/plan/change/?plan=free")
    assert reason in post("billing/plan/later/", {"plan": "free"})
    row = subscription_of(tenant)
    assert row is not None
    assert row.cancel_at is None


def test_a_code_that_is_none_is_refused(tenant: Tenant, post: Page, buy: Buy) -> None:
    buy(tenant, "pro")
    assert "This code is not valid." in post("billing/plan/code/", {"code": "NOPE"})


@pytest.mark.parametrize("query", ["", "plan=gold", "plan=pro&seats=0", "plan=pro&seats=x", "plan=pro&interval=daily"])
def test_a_change_that_makes_no_sense_leads_back(owner: Client, home: str, query: str) -> None:
    assert owner.get(f"{home}billing/plan/change/?{query}")["Location"] == f"{home}billing/plan/"
    assert owner.post(f"{home}billing/plan/buy/?x", {})["Location"] == f"{home}billing/plan/"


def test_where_no_cards_are_taken_that_is_said(tenant: Tenant, post: Page, page: Page, settings: Any, buy: Buy) -> None:
    buy(tenant, "pro")
    settings.STRIPE_SANDBOX = False
    assert "Cards are not taken here" in page("billing/plan/change/?plan=scale", 409)
    assert "no money moves" not in page("billing/plan/")


def test_an_admin_sees_the_plan_and_changes_nothing(tenant: Tenant, sign_in: SignIn, home: str, buy: Buy) -> None:
    buy(tenant, "pro")
    browser = sign_in(add_member(tenant, Role.ADMIN, "Adam"))
    text = browser.get(f"{home}billing/plan/").content.decode()
    assert "Your plan" in text
    assert "Upgrade" not in text
    assert browser.post(f"{home}billing/plan/later/", {"plan": "free"}).status_code == 403
