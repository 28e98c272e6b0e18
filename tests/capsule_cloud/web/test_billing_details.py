"""Whom invoices name: saved here and at Stripe, refused with a reason, and cards on a page that is not ours."""

from typing import Any

import pytest
from django.test import Client

from billing.models import BillingAccount
from billing.stripe_client import client
from tenancy.roles import Role
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.capsule_cloud.web.conftest import Page, SignIn
from tests.factories import Tenant, add_member

DETAILS = {
    "legal_name": "Acme Ltd",
    "invoice_emails": "bills@acme.example\nceo@acme.example",
    "po_number": "PO-7",
    "line1": "1 Main Street",
    "postal_code": "10115",
    "city": "Berlin",
    "country": "de",
}


def account_of(tenant: Tenant) -> BillingAccount | None:
    with scope(tenant.organization):
        return BillingAccount.objects.first()


def test_details_are_saved_here_and_at_stripe(tenant: Tenant, page: Page, post: Page, shop: None) -> None:
    assert "Saved. Invoices from now on say so." in post("billing/details/update/", DETAILS)
    account = account_of(tenant)
    assert account is not None
    assert account.invoice_emails == ["bills@acme.example", "ceo@acme.example"]
    assert account.address == {"line1": "1 Main Street", "city": "Berlin", "postal_code": "10115", "country": "DE"}
    customer = client().retrieve("customer", str(account.stripe_customer_id))
    assert (customer["name"], customer["email"]) == ("Acme Ltd", "bills@acme.example")
    text = page("billing/details/")
    for value in ("Acme Ltd", "ceo@acme.example", "PO-7", "Berlin", "DE"):
        assert value in text


def test_who_may_only_read_sees_each_address_whole(
    tenant: Tenant, post: Page, sign_in: SignIn, home: str, shop: None
) -> None:
    post("billing/details/update/", DETAILS)
    text = sign_in(add_member(tenant, Role.ADMIN, "Ben")).get(f"{home}billing/details/").content.decode()
    assert "bills@acme.example<br>ceo@acme.example" in text


def test_cards_are_shown_by_their_last_digits(tenant: Tenant, page: Page, owner: Client, home: str, buy: Buy) -> None:
    assert "No card is on file" in page("billing/details/cards/list/")
    buy(tenant, "pro")
    part = owner.get(f"{home}billing/details/cards/list/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    for words in ("Visa", "4242", "Pays invoices", "12/2040"):
        assert words in part


def test_cards_that_cannot_be_asked_for_are_said_to_be(tenant: Tenant, page: Page, settings: Any, buy: Buy) -> None:
    buy(tenant, "pro")
    settings.STRIPE_SANDBOX = False
    assert 'role="alert"' in page("billing/details/cards/list/")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("invoice_emails", "not an address"),
        ("invoice_emails", "\n".join(f"a{n}@acme.example" for n in range(11))),
        ("po_number", "x" * 31),
        ("country", "Germany"),
        ("legal_name", "x" * 201),
        ("city", "\x00"),
    ],
)
def test_details_that_cannot_be_are_refused_at_their_field(
    tenant: Tenant, post: Page, shop: None, field: str, value: str
) -> None:
    text = post("billing/details/update/", DETAILS | {field: value}, status=422)
    assert "field-error" in text
    account = account_of(tenant)
    assert account is None or not account.legal_name


def test_a_tax_id_is_added_and_removed(tenant: Tenant, page: Page, post: Page, shop: None) -> None:
    assert "The tax id is added." in post("billing/details/tax-ids/add/", {"kind": "eu_vat", "tax_id": "DE123456789"})
    assert "DE123456789" in page("billing/details/")
    account = account_of(tenant)
    assert account is not None
    [one] = account.tax_ids
    assert "The tax id is removed." in post("billing/details/tax-ids/remove/", {"id": one["id"]})
    assert "DE123456789" not in page("billing/details/")
    post("billing/details/tax-ids/remove/", {"id": "txi_nothing"}, status=404)
    post("billing/details/tax-ids/add/", {"kind": "moon_vat", "tax_id": "1"}, status=422)


def test_cards_are_managed_on_another_page(
    tenant: Tenant, owner: Client, home: str, page: Page, post: Page, buy: Buy
) -> None:
    assert "A card is asked for when you choose a plan." in page("billing/details/")
    assert "choose a plan first" in post("billing/details/cards/")
    buy(tenant, "pro")
    assert "On file" in page("billing/details/")
    assert "/portal/" in owner.post(f"{home}billing/details/cards/")["Location"]


def test_the_card_of_a_subscription_stays_on_file_when_details_change(
    tenant: Tenant, page: Page, post: Page, buy: Buy
) -> None:
    buy(tenant, "pro")
    post("billing/details/update/", DETAILS)
    post("billing/details/tax-ids/add/", {"kind": "eu_vat", "tax_id": "DE123456789"})
    assert "On file" in page("billing/details/")


def test_who_counts_as_a_seat_is_chosen(tenant: Tenant, post: Page) -> None:
    assert "Saved." in post("billing/details/seats/", {"seat_policy": "used"})
    account = account_of(tenant)
    assert account is not None
    assert account.seat_policy == "used"
    post("billing/details/seats/", {"seat_policy": "none"}, status=422)


def test_an_admin_sees_details_and_changes_none(tenant: Tenant, sign_in: SignIn, home: str) -> None:
    browser = sign_in(add_member(tenant, Role.ADMIN, "Adam"))
    text = browser.get(f"{home}billing/details/").content.decode()
    assert "Name on invoices" in text
    assert '<button class="btn btn-primary"' not in text
    for path in ("update/", "tax-ids/add/", "tax-ids/remove/", "cards/", "seats/"):
        assert browser.post(f"{home}billing/details/{path}", DETAILS).status_code == 403
