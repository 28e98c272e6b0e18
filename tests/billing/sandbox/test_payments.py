"""Payment and setup intents, cards, and the checkout of things that are bought once."""

from typing import Any

import pytest
import stripe
from django.test import Client

from billing.sandbox import cards
from tests.billing.sandbox.conftest import Account

BUY: Any = {"amount": 2500, "currency": "usd", "confirm": True}


def test_a_payment_is_held_and_then_taken(account: Account) -> None:
    held = account.client.v1.payment_intents.create(
        BUY | {"payment_method": "pm_card_visa", "capture_method": "manual"}
    )
    assert (held.status, held.amount_capturable, held.amount_received) == ("requires_capture", 2500, 0)
    taken = account.client.v1.payment_intents.capture(held.id, {"amount_to_capture": 2000})
    assert (taken.status, taken.amount_received) == ("succeeded", 2000)
    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.payment_intents.capture(held.id)
    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.payment_intents.cancel(held.id)


def test_a_payment_that_was_refused_is_tried_with_another_card(account: Account) -> None:
    intent = account.client.v1.payment_intents.create({"amount": 900, "currency": "usd"})
    assert intent.status == "requires_payment_method"
    for card, code in (
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ):
        with pytest.raises(stripe.CardError) as refused:
            account.client.v1.payment_intents.confirm(intent.id, {"payment_method": card})
        assert refused.value.code == code
        assert account.client.v1.payment_intents.retrieve(intent.id).last_payment_error.code == code  # type: ignore[union-attr]
    account.client.v1.payment_intents.update(intent.id, {"amount": 1000, "payment_method": "pm_card_visa"})
    assert account.client.v1.payment_intents.confirm(intent.id).amount_received == 1000
    assert [charge.status for charge in account.client.v1.charges.list({}).data] == ["succeeded", "failed", "failed"]


def test_a_payment_without_the_customer_cannot_be_authenticated(account: Account) -> None:
    customer = account.customer("pm_card_authenticationRequired")
    form = BUY | {"customer": customer.id, "off_session": True, "payment_method": "pm_card_authenticationRequired"}
    with pytest.raises(stripe.CardError) as refused:
        account.client.v1.payment_intents.create(form)
    assert refused.value.code == "authentication_required"


def test_an_ended_payment_takes_nothing(account: Account) -> None:
    intent = account.client.v1.payment_intents.create({"amount": 900, "currency": "usd"})
    ended = account.client.v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (ended.status, ended.cancellation_reason) == ("canceled", "abandoned")
    with pytest.raises(stripe.InvalidRequestError, match="cannot be confirmed"):
        account.client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})


def test_a_card_is_set_up_for_later_and_attached(account: Account) -> None:
    customer = account.customer(card=None)
    form: Any = {"customer": customer.id, "payment_method": "pm_card_mastercard", "confirm": True}
    made = account.client.v1.setup_intents.create(form)
    assert made.status == "succeeded"
    [method] = account.client.v1.customers.payment_methods.list(customer.id).data
    assert (method.id, method.card.brand) == (made.payment_method, "mastercard")  # type: ignore[union-attr]
    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.setup_intents.cancel(made.id)
    waiting = account.client.v1.setup_intents.create({})
    assert account.client.v1.setup_intents.cancel(waiting.id).status == "canceled"


@pytest.mark.parametrize(("answer", "status"), [("yes", "succeeded"), ("no", "requires_payment_method")])
def test_a_setup_asks_the_customer(account: Account, answer: str, status: str) -> None:
    form: Any = {"customer": account.customer(card=None).id, "payment_method": "pm_card_threeDSecure2Required"}
    made = account.client.v1.setup_intents.create(form | {"confirm": True})
    url = str(made.next_action.redirect_to_url.url).removeprefix("http://testserver")  # type: ignore[union-attr]
    assert "A card is kept" in Client().get(url).content.decode()
    Client().post(url, {"answer": answer})
    assert account.client.v1.setup_intents.retrieve(made.id).status == status
    assert "Nothing to answer" in Client().get(url).content.decode()


def test_only_test_cards_are_taken(account: Account) -> None:
    form: Any = {"type": "card", "card": {"number": "4242 4242 4242 4242", "exp_month": 1, "exp_year": 2040}}
    made = account.client.v1.payment_methods.create(form)
    assert made.card.last4 == "4242"  # type: ignore[union-attr]
    with pytest.raises(stripe.CardError, match="test cards alone"):
        account.client.v1.payment_methods.create(form | {"card": form["card"] | {"number": "4111111111111111"}})
    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.payment_methods.create({"type": "sepa_debit"})
    with pytest.raises(stripe.InvalidRequestError, match="pm_card_nobody"):
        account.client.v1.payment_methods.attach("pm_card_nobody", {"customer": account.customer(card=None).id})


@pytest.mark.parametrize("name", [name for name, card in cards.CARDS.items() if card.attach])
def test_a_declined_card_is_not_attached(account: Account, name: str) -> None:
    customer = account.customer(card=None)
    with pytest.raises(stripe.CardError):
        account.client.v1.payment_methods.attach(f"pm_card_{name}", {"customer": customer.id})
    assert account.client.v1.payment_methods.list({"customer": customer.id}).data == []


def test_a_card_that_is_taken_away_pays_no_more(account: Account) -> None:
    customer = account.customer()
    [method] = account.client.v1.payment_methods.list({"customer": customer.id}).data
    made = account.subscribe(customer.id, account.price().id, default_payment_method=method.id)
    account.client.v1.payment_methods.detach(method.id)
    assert account.client.v1.subscriptions.retrieve(made.id).default_payment_method is None
    assert account.client.v1.customers.retrieve(customer.id).invoice_settings.default_payment_method is None  # type: ignore[union-attr]
    with pytest.raises(stripe.InvalidRequestError, match="not attached"):
        account.client.v1.payment_methods.detach(method.id)


def test_nobody_pays_with_another_s_card(account: Account) -> None:
    [method] = account.client.v1.payment_methods.list({"customer": account.customer().id}).data
    other = account.customer(card=None)
    with pytest.raises(stripe.InvalidRequestError, match="already been attached"):
        account.client.v1.payment_methods.attach(method.id, {"customer": other.id})
    with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method"):
        account.client.v1.customers.update(other.id, {"invoice_settings": {"default_payment_method": method.id}})
    with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method"):
        account.subscribe(other.id, account.price().id, default_payment_method=method.id)


def test_a_thing_that_is_bought_once_is_paid_on_the_checkout_page(account: Account) -> None:
    price = account.client.v1.prices.create({"product": account.product(), "currency": "usd", "unit_amount": 700})
    form: Any = {
        "mode": "payment",
        "success_url": "http://testserver/",
        "line_items": [{"price": price.id, "quantity": 2}],
    }
    session = account.client.v1.checkout.sessions.create(form)
    [line] = account.client.v1.checkout.sessions.line_items.list(session.id).data
    assert (line.quantity, line.amount_total) == (2, 1400)
    assert (
        Client().post(f"/sandbox/checkout/{session.id}", {"card": "visa", "email": "x@example.com"}).status_code == 302
    )
    done: Any = account.client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent", "line_items"]})
    assert (done.payment_status, done.payment_intent.amount_received) == ("paid", 1400)
    assert done.customer_details.email == "x@example.com"


def test_a_card_is_left_on_the_checkout_page(account: Account) -> None:
    customer = account.customer(card=None)
    form: Any = {"mode": "setup", "currency": "usd", "success_url": "http://testserver/", "customer": customer.id}
    session = account.client.v1.checkout.sessions.create(form)
    assert "Leave a card" in Client().get(f"/sandbox/checkout/{session.id}").content.decode()
    Client().post(f"/sandbox/checkout/{session.id}", {"card": "visa"})
    done: Any = account.client.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
    assert (done.status, done.setup_intent.status) == ("complete", "succeeded")


@pytest.mark.parametrize("mode", ["payment", "subscription"])
def test_a_checkout_of_the_wrong_kind_is_refused(account: Account, mode: str) -> None:
    once = account.client.v1.prices.create({"product": account.product(), "currency": "usd", "unit_amount": 700}).id
    price = account.price().id if mode == "payment" else once
    form: Any = {"mode": mode, "success_url": "http://testserver/"}
    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.checkout.sessions.create(form | {"line_items": [{"price": price, "quantity": 1}]})
    with pytest.raises(stripe.InvalidRequestError, match="line_items"):
        account.client.v1.checkout.sessions.create(form)
