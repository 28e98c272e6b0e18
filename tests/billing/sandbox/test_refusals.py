"""What is refused on the way, and drafts and items that change before they are billed."""

from typing import Any

import pytest
import stripe

from tests.billing.sandbox.conftest import START, Account

DAY, HOUR, MONTH = 86_400, 3600, 31 * 86_400


def draft(account: Account, customer: str, **more: Any) -> stripe.Invoice:
    """A draft that is sent, not charged."""
    form: Any = {"customer": customer, "collection_method": "send_invoice", "days_until_due": 5}
    return account.client.v1.invoices.create(form | more)


def test_a_draft_and_what_waits_for_it_change_until_it_is_finalized(account: Account) -> None:
    v1, customer = account.client.v1, account.customer().id
    price = v1.prices.create({"product": account.product(), "currency": "usd", "unit_amount": 700}).id
    coupon = v1.coupons.create({"percent_off": 10, "duration": "once"})
    made = draft(account, customer)
    form: Any = {"customer": customer, "invoice": made.id, "pricing": {"price": price}, "quantity": 3}
    v1.invoice_items.create(form)
    tuned: Any = {"discounts": [{"coupon": coupon.id}], "description": "May", "footer": "Thanks", "days_until_due": 9}
    changed = v1.invoices.update(made.id, tuned)
    assert (changed.subtotal, changed.total, changed.description) == (2100, 1890, "May")
    finalized = v1.invoices.finalize_invoice(made.id)
    assert finalized.due_date == finalized.status_transitions.finalized_at + 9 * DAY  # type: ignore[operator]
    with pytest.raises(stripe.InvalidRequestError, match="can't be updated"):
        v1.invoices.update(made.id, {"footer": "no"})
    with pytest.raises(stripe.InvalidRequestError, match="draft invoices"):
        v1.invoice_items.create(form)


def test_an_item_that_waits_is_changed_or_taken_away(account: Account) -> None:
    v1, customer = account.client.v1, account.customer().id
    form: Any = {"customer": customer, "unit_amount_decimal": "1.25", "quantity": 10, "currency": "usd"}
    waiting = v1.invoice_items.create(form)
    assert waiting.amount == 13
    v1.invoice_items.update(waiting.id, {"amount": 40, "description": "Work"})
    assert v1.invoice_items.retrieve(waiting.id).amount == 40
    v1.invoice_items.delete(waiting.id)
    described: Any = {"product": account.product(), "currency": "usd", "unit_amount": 5}
    v1.invoice_items.create({"customer": customer, "price_data": described, "quantity": 2})
    made = draft(account, customer, pending_invoice_items_behavior="include")
    assert made.total == 10
    [taken] = v1.invoice_items.list({"invoice": made.id}).data
    with pytest.raises(stripe.InvalidRequestError, match="no longer be changed"):
        v1.invoice_items.delete(taken.id)
    for wrong in ({}, {"pricing": {"price": account.price().id}}):
        with pytest.raises(stripe.InvalidRequestError):
            v1.invoice_items.create({"customer": customer} | wrong)  # type: ignore[arg-type]


def test_an_invoice_that_goes_by_itself_is_charged_within_the_hour(account: Account) -> None:
    v1, clock = account.client.v1, account.clock().id
    customer = account.customer(test_clock=clock).id
    v1.invoice_items.create({"customer": customer, "amount": 500, "currency": "usd"})
    form: Any = {"customer": customer, "pending_invoice_items_behavior": "include", "auto_advance": True}
    made = v1.invoices.create(form)
    assert made.automatically_finalizes_at == START + HOUR
    account.advance(clock, START + HOUR)
    assert v1.invoices.retrieve(made.id).status == "paid"


def test_an_update_that_would_wait_for_its_payment_is_not_offered(account: Account) -> None:
    made = account.subscribe(account.customer().id, account.price().id)
    form: Any = {
        "items": [{"id": made["items"].data[0].id, "quantity": 2}],
        "proration_behavior": "always_invoice",
        "payment_behavior": "pending_if_incomplete",
    }
    with pytest.raises(stripe.InvalidRequestError, match="does not keep pending updates"):
        account.client.v1.subscriptions.update(made.id, form)
    assert account.client.v1.subscriptions.retrieve(made.id)["items"].data[0].quantity == 1


def test_an_anchor_of_now_begins_a_new_period(account: Account) -> None:
    clock = account.clock().id
    made = account.subscribe(account.customer(test_clock=clock).id, account.price(3100).id)
    account.advance(clock, START + 11 * DAY)
    form: Any = {"billing_cycle_anchor": "now", "proration_behavior": "create_prorations"}
    changed = account.client.v1.subscriptions.update(made.id, form)
    assert changed.billing_cycle_anchor == START + 11 * DAY
    assert account.invoices(made.id)[0].total == 3100 - 2000


def test_a_first_period_up_to_an_anchor_costs_its_part(account: Account) -> None:
    clock = account.clock().id
    customer = account.customer(test_clock=clock).id
    made = account.subscribe(customer, account.price(3100).id, billing_cycle_anchor=START + 10 * DAY)
    first = account.invoices(made.id)[0]
    assert (first.total, made["items"].data[0].current_period_end) == (1000, START + 10 * DAY)
    free = account.subscribe(
        customer, account.price(3100).id, billing_cycle_anchor=START + 10 * DAY, proration_behavior="none"
    )
    assert account.invoices(free.id)[0].total == 0


def test_a_metered_item_that_leaves_is_billed_for_what_it_counted(account: Account) -> None:
    v1, clock = account.client.v1, account.clock().id
    meter = v1.billing.meters.create(
        {"display_name": "M", "event_name": "m", "default_aggregation": {"formula": "sum"}}
    )
    recurring: Any = {"interval": "month", "usage_type": "metered", "meter": meter.id}
    metered = account.price(10, recurring=recurring).id
    customer = account.customer(test_clock=clock).id
    made = account.subscribe(customer, account.price(1000).id, metered)
    payload = {"stripe_customer_id": customer, "value": "7"}
    v1.billing.meter_events.create({"event_name": "m", "payload": payload, "timestamp": START})
    account.advance(clock, START + DAY)
    leaving = next(item.id for item in made["items"].data if item.price.id == metered)
    v1.subscription_items.delete(leaving)
    account.advance(clock, START + MONTH + HOUR)
    assert account.invoices(made.id)[0].total == 1070


@pytest.mark.parametrize(
    "form",
    [
        {"items": []},
        {"items": [{"price": "price_none"}]},
        {"items": [{"quantity": 2}]},
        {"trial_end": START - 1},
        {"trial_end": START + 800 * DAY},
        {"billing_cycle_anchor": START - 1},
        {"cancel_at": START - 1},
        {"collection_method": "send_invoice"},
        {"discounts": [{"coupon": "none"}]},
        {"default_payment_method": "pm_none"},
    ],
    ids=str,
)
def test_a_subscription_that_cannot_be_is_refused_and_leaves_nothing(account: Account, form: Any) -> None:
    customer = account.customer(test_clock=account.clock().id).id
    told = len(account.events())
    good = {"customer": customer, "items": [{"price": account.price().id}]}
    told += 2  # the product and its price
    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.subscriptions.create(good | form)
    assert len(account.events()) == told
    assert account.client.v1.subscriptions.list({"status": "all"}).data == []


def test_a_subscription_has_each_price_once(account: Account) -> None:
    price = account.price().id
    with pytest.raises(stripe.InvalidRequestError, match="same price"):
        account.subscribe(account.customer().id, price, price)
    made = account.subscribe(account.customer().id, price)
    with pytest.raises(stripe.InvalidRequestError, match="same price"):
        account.client.v1.subscription_items.create({"subscription": made.id, "price": price})
    with pytest.raises(stripe.InvalidRequestError, match="at least one"):
        account.client.v1.subscription_items.delete(made["items"].data[0].id)


def test_a_price_that_is_retired_is_sold_to_nobody_new(account: Account) -> None:
    price, customer = account.price().id, account.customer().id
    made = account.subscribe(customer, price)
    account.client.v1.prices.update(price, {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        account.subscribe(customer, price)
    assert account.client.v1.subscriptions.retrieve(made.id).status == "active"
    with pytest.raises(stripe.InvalidRequestError, match="cannot be deleted"):
        account.client.v1.products.delete(account.product())


def test_a_coupon_that_is_gone_still_takes_off_where_it_was_redeemed(account: Account) -> None:
    clock, coupon = account.clock().id, account.client.v1.coupons.create({"percent_off": 50, "duration": "forever"})
    made = account.subscribe(
        account.customer(test_clock=clock).id, account.price().id, discounts=[{"coupon": coupon.id}]
    )
    account.client.v1.coupons.delete(coupon.id)
    account.advance(clock, START + MONTH + HOUR)
    assert [one.total for one in account.invoices(made.id)] == [1000, 1000]
    with pytest.raises(stripe.InvalidRequestError, match="No such coupon"):
        account.client.v1.coupons.retrieve(coupon.id)
