"""The hosted pages: subscribing, paying, changing cards, and what they refuse."""

import time
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

from tests.billing.sandbox.conftest import Account

SUCCESS = "http://testserver/done?session={CHECKOUT_SESSION_ID}"


def checkout(account: Account, **more: Any) -> Any:
    """An open session for a monthly price."""
    form = {"mode": "subscription", "success_url": SUCCESS, "cancel_url": "http://testserver/back"}
    items = [{"price": account.price(2000).id, "quantity": 3}]
    return account.client.v1.checkout.sessions.create(form | {"line_items": items} | more)  # type: ignore[arg-type]


def path(url: str) -> str:
    """An address without its host."""
    assert url.startswith("http://testserver/")
    return url.removeprefix("http://testserver")


def test_the_checkout_page_says_what_is_due_and_that_no_money_moves(account: Account) -> None:
    page = Client().get(path(checkout(account).url))
    text = page.content.decode()
    assert page.status_code == 200
    assert "Sandbox billing: no money moves" in text
    assert "$60.00" in text
    assert "at $20.00 / month" in text


def test_a_completed_checkout_subscribes_and_leads_to_the_seller(account: Account) -> None:
    customer = account.customer(card=None)
    session = checkout(account, customer=customer.id, subscription_data={"metadata": {"organization": "o-1"}})
    answer = Client().post(path(session.url), {"card": "visa"})
    assert (answer.status_code, answer.headers["Location"]) == (302, f"http://testserver/done?session={session.id}")
    done = account.client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]})
    assert (done.status, done.payment_status) == ("complete", "paid")
    subscription: Any = done.subscription
    assert (subscription.status, subscription.metadata["organization"]) == ("active", "o-1")
    assert subscription["items"].data[0].quantity == 3
    assert account.events("checkout.session.completed", "customer.subscription.created", "invoice.paid") == [
        "customer.subscription.created",
        "invoice.paid",
        "checkout.session.completed",
    ]


def test_a_completed_checkout_is_not_completed_twice(account: Account) -> None:
    session, client = checkout(account, customer=account.customer(card=None).id), Client()
    client.post(path(session.url), {"card": "visa"})
    assert client.post(path(session.url), {"card": "visa"}).status_code == 402
    assert len(account.client.v1.subscriptions.list().data) == 1


def test_a_declined_card_leaves_the_checkout_open_and_nothing_behind(account: Account) -> None:
    session = checkout(account, customer=account.customer(card=None).id)
    for card in ("chargeDeclined", "chargeCustomerFail"):
        page = Client().post(path(session.url), {"card": card})
        assert page.status_code == 402
        assert "Your card was declined." in page.content.decode()
    assert account.client.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert account.client.v1.subscriptions.list({"status": "all"}).data == []


def test_a_trial_without_a_card_begins_where_none_is_needed(account: Account) -> None:
    session = checkout(account, payment_method_collection="if_required", subscription_data={"trial_period_days": 14})
    page = Client().get(path(session.url)).content.decode()
    assert "The first 14 days are free." in page
    assert Client().post(path(session.url), {"card": "", "email": "b@example.com"}).status_code == 302
    [subscription] = account.client.v1.subscriptions.list().data
    assert subscription.status == "trialing"


def test_a_promotion_code_on_the_page_lowers_the_price(account: Account) -> None:
    coupon = account.client.v1.coupons.create({"percent_off": 50, "duration": "forever"})
    account.client.v1.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "HALF"})
    session = checkout(account, customer=account.customer(card=None).id, allow_promotion_codes=True)
    assert Client().post(path(session.url), {"card": "visa", "promotion_code": "NONE"}).status_code == 402
    assert Client().post(path(session.url), {"card": "visa", "promotion_code": "half"}).status_code == 302
    [invoice] = account.client.v1.invoices.list().data
    assert (invoice.subtotal, invoice.total) == (6000, 3000)


def test_a_card_that_asks_is_answered_on_the_checkout_page(account: Account) -> None:
    session = checkout(account, customer=account.customer(card=None).id)
    form = {"card": "threeDSecure2Required", "promotion_code": ""}
    question = Client().post(path(session.url), form)
    assert (question.status_code, account.client.v1.subscriptions.list().data) == (200, [])
    assert "Your bank asks: is it you?" in question.content.decode()
    assert Client().post(path(session.url), form | {"answer": "no"}).status_code == 402
    assert Client().post(path(session.url), form | {"answer": "yes"}).status_code == 302
    [subscription] = account.client.v1.subscriptions.list().data
    assert subscription.status == "active"


def test_an_expired_checkout_takes_nobody(account: Account) -> None:
    session = checkout(account)
    account.client.v1.checkout.sessions.expire(session.id)
    assert "It has expired." in Client().get(f"/sandbox/checkout/{session.id}").content.decode()
    assert Client().post(f"/sandbox/checkout/{session.id}", {"card": "visa"}).status_code == 402


@pytest.fixture
def portal(account: Account) -> tuple[Account, Any, str]:
    """A customer with a subscription, and the address of its portal."""
    customer = account.customer()
    subscription = account.subscribe(customer.id, account.price().id)
    form = {"customer": customer.id, "return_url": "http://testserver/back"}
    session = account.client.v1.billing_portal.sessions.create(form)  # type: ignore[arg-type]
    return account, subscription, path(session.url)


def test_the_portal_ends_a_subscription_and_keeps_it(portal: tuple[Account, Any, str]) -> None:
    account, subscription, url = portal
    assert Client().post(url, {"do": "cancel", "subscription": subscription.id}).status_code == 302
    assert account.client.v1.subscriptions.retrieve(subscription.id).cancel_at_period_end is True
    assert "Keep it" in Client().get(url).content.decode()
    Client().post(url, {"do": "resume", "subscription": subscription.id})
    assert account.client.v1.subscriptions.retrieve(subscription.id).cancel_at_period_end is False


def test_the_portal_changes_the_card(portal: tuple[Account, Any, str]) -> None:
    account, subscription, url = portal
    assert Client().post(url, {"do": "card", "card": "mastercard"}).status_code == 302
    customer = account.client.v1.customers.retrieve(
        subscription.customer, {"expand": ["invoice_settings.default_payment_method"]}
    )
    method: Any = customer.invoice_settings.default_payment_method  # type: ignore[union-attr]
    assert method.card.brand == "mastercard"
    assert Client().post(url, {"do": "card", "card": "chargeDeclined"}).status_code == 402


def test_the_portal_changes_details_and_adds_a_tax_id(portal: tuple[Account, Any, str]) -> None:
    account, subscription, url = portal
    form = {"do": "details", "name": "New Name", "email": "new@example.com", "line1": "Main St 1", "country": "DE"}
    assert Client().post(url, form).status_code == 302
    assert Client().post(url, {"do": "tax_id", "value": "DE123456789"}).status_code == 302
    customer = account.client.v1.customers.retrieve(subscription.customer, {"expand": ["tax_ids"]})
    assert (customer.name, customer.address.country) == ("New Name", "DE")  # type: ignore[union-attr]
    assert customer.tax_ids.data[0].value == "DE123456789"  # type: ignore[union-attr]
    assert Client().post(url, {"do": "tax_id", "value": "none"}).status_code == 402


def test_the_portal_is_open_for_an_hour_whatever_the_customer_s_clock_says(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = account.customer(test_clock=account.clock(1_600_000_000).id)
    url = path(account.client.v1.billing_portal.sessions.create({"customer": customer.id}).url)
    assert Client().get(url).status_code == 200
    later = time.time() + 3601
    monkeypatch.setattr("time.time", lambda: later)
    assert Client().get(url).status_code == 404


def test_the_portal_touches_nobody_else_s_things(portal: tuple[Account, Any, str]) -> None:
    account, _, url = portal
    other = account.subscribe(account.customer().id, account.price(500).id)
    assert Client().post(url, {"do": "cancel", "subscription": other.id}).status_code == 404
    assert Client().post(url, {"do": "nonsense"}).status_code == 402
    assert account.client.v1.subscriptions.retrieve(other.id).cancel_at_period_end is False


def test_what_cannot_be_kept_is_refused_or_left_out(portal: tuple[Account, Any, str]) -> None:
    account, subscription, url = portal
    assert Client().get("/sandbox/portal/a%00b").status_code == 404
    assert Client().post(url, {"do": "cancel", "subscription": "a\0b"}).status_code in {402, 404}
    assert Client().post(url, {"do": "details", "name": "A\0da" + "x" * 500}).status_code == 302
    assert str(account.client.v1.customers.retrieve(subscription.customer).name).startswith("Adax")


def test_the_pages_take_no_forged_form(portal: tuple[Account, Any, str]) -> None:
    _, subscription, url = portal
    forged = Client(enforce_csrf_checks=True).post(url, {"do": "cancel", "subscription": subscription.id})
    assert forged.status_code == 403


def test_an_open_invoice_is_paid_on_its_page(account: Account) -> None:
    customer = account.customer(card=None)
    form = {"customer": customer.id, "collection_method": "send_invoice", "days_until_due": 14}
    invoice = account.client.v1.invoices.create(form)  # type: ignore[arg-type]
    item = {"customer": customer.id, "invoice": invoice.id, "amount": 123_45, "currency": "usd", "description": "Setup"}
    account.client.v1.invoice_items.create(item)  # type: ignore[arg-type]
    sent = account.client.v1.invoices.send_invoice(invoice.id)
    url = path(str(sent.hosted_invoice_url))
    assert "$123.45" in Client().get(url).content.decode()
    assert Client().post(url, {"card": "chargeDeclined"}).status_code == 402
    assert Client().post(url, {"card": "visa"}).status_code == 302
    assert account.client.v1.invoices.retrieve(invoice.id).status == "paid"
    assert "Paid" in Client().get(url).content.decode()


def test_an_invoice_s_page_needs_its_whole_address(account: Account) -> None:
    subscription = account.subscribe(account.customer().id, account.price().id)
    [invoice] = account.invoices(subscription.id)
    assert Client().get(f"/sandbox/invoice/{invoice.id}/wrong").status_code == 404
    assert Client().get(path(str(invoice.invoice_pdf))).status_code == 200


@pytest.mark.parametrize(("answer", "status"), [("yes", "active"), ("no", "incomplete")])
def test_the_bank_s_question_decides_about_the_subscription(account: Account, answer: str, status: str) -> None:
    customer = account.customer("pm_card_threeDSecure2Required")
    subscription = account.subscribe(customer.id, account.price().id)
    assert subscription.status == "incomplete"
    [intent] = account.client.v1.payment_intents.list({"customer": customer.id}).data
    url = path(intent.next_action.redirect_to_url.url)  # type: ignore[union-attr, arg-type]
    assert "$20.00" in Client().get(url).content.decode()
    assert Client().post(url, {"answer": answer}).status_code == 200
    assert account.client.v1.subscriptions.retrieve(subscription.id).status == status


def test_without_the_sandbox_there_are_no_pages(account: Account, settings: LazySettings) -> None:
    url = path(checkout(account).url)
    settings.STRIPE_SANDBOX = False
    assert Client().get(url).status_code == 404
