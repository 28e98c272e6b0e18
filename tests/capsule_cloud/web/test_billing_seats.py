"""Seats on the plan's page: the price is shown before, and the next invoice says the same to the cent."""

import re
from typing import Any

import pytest
from django.test import Client

from billing.models import BillingAccount, SeatPolicy, Subscription
from billing.money import Money
from billing.selectors.subscriptions import live
from billing.stripe_client import client
from tenancy.roles import Role
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.capsule_cloud.web.conftest import Page, SignIn
from tests.capsule_cloud.web.test_billing_plan import token_in
from tests.factories import Tenant, add_member

PREVIEW = "billing/plan/seats/?seats="
CHOOSE = "Choose from 1 to 10,000 people."


def subscription_of(tenant: Tenant) -> Subscription:
    with scope(tenant.organization):
        found = live()
    assert found is not None
    return found


def waiting(tenant: Tenant) -> list[int]:
    """What stands on the next invoice beside its regular lines."""
    with scope(tenant.organization):
        customer = str(BillingAccount.objects.get().stripe_customer_id)
    return [line["amount"] for line in client()._pages("invoiceitems", {"customer": customer, "pending": True})]


def test_what_was_previewed_stands_on_the_next_invoice(tenant: Tenant, page: Page, post: Page, buy: Buy) -> None:
    buy(tenant, "pro")
    text = page(f"{PREVIEW}14")
    assert "$36.00" in text  # four above the ten that are included, nine dollars each
    shown = re.search(r"Confirm 14 seats, (\$[0-9.]+) more", text)
    assert shown is not None
    assert "Saved." in post("billing/plan/seats/", {"token": token_in(text)})
    assert [str(Money(amount, "usd")) for amount in waiting(tenant)] == [shown.group(1)]
    assert subscription_of(tenant).seats == 14


def test_a_preview_is_confirmed_once(tenant: Tenant, page: Page, post: Page, buy: Buy) -> None:
    buy(tenant, "pro")
    token = token_in(page(f"{PREVIEW}12"))
    post("billing/plan/seats/", {"token": token})
    before = waiting(tenant)
    assert "Saved." in post("billing/plan/seats/", {"token": token})
    assert waiting(tenant) == before


def test_a_preview_that_others_have_overtaken_is_refused(tenant: Tenant, page: Page, post: Page, buy: Buy) -> None:
    buy(tenant, "pro")
    mine, theirs = token_in(page(f"{PREVIEW}15")), token_in(page(f"{PREVIEW}13"))
    post("billing/plan/seats/", {"token": theirs})
    assert "The price has changed meanwhile" in post("billing/plan/seats/", {"token": mine})
    assert subscription_of(tenant).seats == 13


def test_as_many_as_there_are_shows_one_more_and_one_fewer(tenant: Tenant, owner: Client, home: str, buy: Buy) -> None:
    buy(tenant, "pro", seats=12)
    part = owner.get(f"{home}{PREVIEW}12", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    for words in ("one more", "$27.00", "one fewer", "$9.00", "nothing more"):
        assert words in part
    assert "Confirm" not in part


def test_fewer_cost_less_from_the_next_period_on(tenant: Tenant, page: Page, post: Page, buy: Buy) -> None:
    buy(tenant, "pro", seats=14)
    text = page(f"{PREVIEW}11")
    assert "nothing more" in text
    post("billing/plan/seats/", {"token": token_in(text)})
    assert waiting(tenant) == []
    assert subscription_of(tenant).seats == 11


@pytest.mark.parametrize("seats", ["0", "10001", "1e9", "x", ""])
def test_a_number_that_makes_no_sense_leads_back(
    tenant: Tenant, owner: Client, home: str, buy: Buy, seats: str
) -> None:
    buy(tenant, "pro")
    answer = owner.get(f"{home}{PREVIEW}{seats}", follow=True)
    assert answer.redirect_chain == [(f"{home}billing/plan/", 302)]
    assert CHOOSE in answer.content.decode()


def test_a_token_of_somebody_else_buys_nothing(
    tenant: Tenant, stranger: Tenant, page: Page, post: Page, sign_in: SignIn, buy: Buy
) -> None:
    buy(tenant, "pro")
    buy(stranger, "pro")
    theirs = sign_in(stranger.owner).get(f"/o/{stranger.organization.slug}/{PREVIEW}15").content.decode()
    for token in (token_in(theirs), "x", ""):
        assert "This is no preview of ours." in post("billing/plan/seats/", {"token": token})
    assert waiting(tenant) == waiting(stranger) == []


def test_without_a_subscription_there_is_nothing_to_price(owner: Client, home: str) -> None:
    assert owner.get(f"{home}{PREVIEW}12")["Location"] == f"{home}billing/plan/"


def test_a_refusal_is_said_in_the_part_too(tenant: Tenant, owner: Client, home: str, settings: Any, buy: Buy) -> None:
    buy(tenant, "pro")
    settings.STRIPE_SANDBOX = False
    part = owner.get(f"{home}{PREVIEW}12", headers={"HX-Request": "true"})
    assert part.status_code == 200  # else htmx would show nothing
    assert "Cards are not taken here" in part.content.decode()
    assert owner.get(f"{home}{PREVIEW}12").status_code == 409


def test_seats_that_follow_the_members_are_not_bought(tenant: Tenant, page: Page, buy: Buy) -> None:
    buy(tenant, "pro")
    assert 'name="seats"' in page("billing/plan/")
    with scope(tenant.organization):
        BillingAccount.objects.update(seat_policy=SeatPolicy.USED)
    text = page("billing/plan/")
    assert 'name="seats"' not in text
    assert "Seats follow your members by themselves" in text


def test_an_admin_sees_no_price_of_seats(tenant: Tenant, sign_in: SignIn, home: str, buy: Buy) -> None:
    buy(tenant, "pro")
    assert sign_in(add_member(tenant, Role.ADMIN, "Adam")).get(f"{home}{PREVIEW}12").status_code == 403
