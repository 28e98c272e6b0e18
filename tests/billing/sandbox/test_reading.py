"""Whatever was made is found again, one by one and in lists, in shapes that stripe-python reads."""

from typing import Any

import pytest
import stripe

from billing.sandbox import contract
from tests.billing.sandbox.conftest import START, Account

DAY, MONTH = 86_400, 31 * 86_400


def test_everything_of_a_busy_account_is_listed_and_read(account: Account) -> None:
    v1 = account.client.v1
    coupon = v1.coupons.create({"percent_off": 10, "duration": "forever"})
    v1.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon.id}})
    customer = account.customer(tax_id_data=[{"type": "eu_vat", "value": "DE 123456789"}])
    made = account.subscribe(customer.id, account.price().id, discounts=[{"coupon": coupon.id}])
    v1.subscription_schedules.create({"from_subscription": made.id})
    [charge] = v1.charges.list({"customer": customer.id}).data
    v1.refunds.create({"charge": charge.id, "amount": 100})
    v1.credit_notes.create({"invoice": str(made.latest_invoice), "amount": 50, "credit_amount": 50})
    v1.invoice_items.create({"customer": customer.id, "amount": 5, "currency": "usd"})
    v1.setup_intents.create({})
    v1.billing.meters.create({"display_name": "M", "event_name": "m", "default_aggregation": {"formula": "count"}})
    v1.billing_portal.sessions.create({"customer": customer.id})
    v1.checkout.sessions.create({"mode": "setup", "currency": "usd", "success_url": "http://testserver/"})
    v1.webhook_endpoints.create({"url": "http://127.0.0.1:9/", "enabled_events": ["*"]})
    account.clock()
    services: list[Any] = [
        *(v1.coupons, v1.promotion_codes, v1.customers, v1.products, v1.prices, v1.subscriptions, v1.invoices),
        *(v1.subscription_schedules, v1.charges, v1.refunds, v1.credit_notes, v1.invoice_items, v1.setup_intents),
        *(v1.payment_intents, v1.billing.meters, v1.billing_portal.configurations, v1.checkout.sessions),
        *(v1.test_helpers.test_clocks, v1.events, v1.invoice_payments),
    ]
    for service in services:
        first = service.list({"limit": 1}).data[0]
        again = service.retrieve(first.id)
        assert again.to_dict() == first.to_dict(), first
    assert len(v1.webhook_endpoints.list().data) == 1
    note = v1.credit_notes.list({"customer": customer.id}).data[0]
    assert [line.amount for line in v1.credit_notes.line_items.list(note.id).data] == [50]
    [item] = v1.subscription_items.list({"subscription": made.id}).data
    assert v1.subscription_items.retrieve(item.id).price.unit_amount == 2000
    assert len(v1.invoices.line_items.list(str(made.latest_invoice)).data) == 1
    [tax_id] = v1.customers.tax_ids.list(customer.id).data
    assert v1.customers.tax_ids.retrieve(customer.id, tax_id.id).value == "DE123456789"
    v1.customers.tax_ids.delete(customer.id, tax_id.id)
    [payment] = v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": str(charge.payment_intent)}}
    ).data
    assert payment.invoice == made.latest_invoice


def test_a_customer_shows_more_where_asked(account: Account) -> None:
    customer = account.customer()
    account.subscribe(customer.id, account.price().id)
    found: Any = account.client.v1.customers.retrieve(
        customer.id, {"expand": ["subscriptions", "tax_ids", "sources", "tax"]}
    )
    assert (len(found.subscriptions.data), found.tax_ids.data, found.sources.data) == (1, [], [])


def test_an_open_invoice_shows_what_a_page_needs_to_have_it_paid(account: Account) -> None:
    customer, price = account.customer(card=None), account.price()
    expand = ["latest_invoice.confirmation_secret"]
    made: Any = account.subscribe(customer.id, price.id, payment_behavior="default_incomplete", expand=expand)
    [intent] = account.client.v1.payment_intents.list({"customer": customer.id}).data
    assert made.latest_invoice.confirmation_secret.client_secret == intent.client_secret
    account.client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert account.client.v1.subscriptions.retrieve(made.id).status == "active"


def test_lists_are_narrowed_by_time_and_by_what_is_asked(account: Account) -> None:
    v1, customer, price = account.client.v1, account.customer(), account.price()
    made = account.subscribe(customer.id, price.id)
    assert v1.subscriptions.list({"price": price.id}).data[0].id == made.id
    assert v1.subscriptions.list({"price": "price_none"}).data == []
    assert v1.customers.list({"created": {"gt": made.created + 100}}).data == []
    assert len(v1.customers.list({"created": {"lte": made.created + 100}, "email": "a@example.com"}).data) == 1
    assert v1.invoices.list({"status": "draft"}).data == []
    assert [one.id for one in v1.products.list({"ids": [account.product()]}).data] == [account.product()]
    assert v1.prices.list({"recurring": {"interval": "year"}}).data == []
    assert {one.type for one in v1.events.list({"types": ["customer.created", "invoice.paid"]}).data} == {
        "customer.created",
        "invoice.paid",
    }
    v1.subscriptions.cancel(made.id)
    assert v1.subscriptions.list().data == []
    assert [one.id for one in v1.subscriptions.list({"status": "ended"}).data] == [made.id]


def test_previews_know_ends_schedules_and_extras(account: Account) -> None:
    v1, clock = account.client.v1, account.clock().id
    customer = account.customer(test_clock=clock)
    made = account.subscribe(customer.id, account.price(3000).id)
    account.advance(clock, START + MONTH // 2)
    extra: Any = {"subscription": made.id, "invoice_items": [{"amount": 70, "currency": "usd"}]}
    assert v1.invoices.create_preview(extra).total == 3070
    coupon = v1.coupons.create({"percent_off": 50, "duration": "once"})
    assert v1.invoices.create_preview({"subscription": made.id, "discounts": [{"coupon": coupon.id}]}).total == 1500
    ended: Any = {"subscription": made.id, "subscription_details": {"cancel_now": True}}
    assert v1.invoices.create_preview(ended).total == -1500
    v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    with pytest.raises(stripe.InvalidRequestError, match="No upcoming invoices"):
        v1.invoices.create_preview({"subscription": made.id})
    assert account.client.v1.subscriptions.retrieve(made.id).status == "active"
    v1.subscriptions.update(made.id, {"cancel_at_period_end": False})
    schedule = v1.subscription_schedules.create({"from_subscription": made.id})
    assert v1.invoices.create_preview({"schedule": schedule.id}).total == 3000
    v1.subscriptions.cancel(made.id)
    with pytest.raises(stripe.InvalidRequestError):
        v1.invoices.create_preview({"subscription": made.id})
    with pytest.raises(stripe.InvalidRequestError):
        v1.invoices.create_preview({})


def test_an_end_now_bills_usage_and_gives_back_what_is_unused(account: Account) -> None:
    v1, clock = account.client.v1, account.clock().id
    meter = v1.billing.meters.create(
        {"display_name": "M", "event_name": "m", "default_aggregation": {"formula": "sum"}}
    )
    recurring: Any = {"interval": "month", "usage_type": "metered", "meter": meter.id}
    metered = account.price(10, recurring=recurring).id
    customer = account.customer(test_clock=clock)
    made = account.subscribe(customer.id, account.price(3100).id, metered)
    account.advance(clock, START + 11 * DAY)
    payload = {"stripe_customer_id": customer.id, "value": "25"}
    v1.billing.meter_events.create({"event_name": "m", "payload": payload, "timestamp": START + DAY})
    v1.subscriptions.cancel(made.id, {"prorate": True, "invoice_now": True})
    [newest, *_] = account.invoices(made.id)
    assert sorted(line.amount for line in newest.lines.data) == [-2000, 250]
    assert v1.customers.retrieve(customer.id).balance == -1750


def test_a_subscription_takes_what_costs_nothing(account: Account) -> None:
    v1, made = account.client.v1, account.subscribe(account.customer().id, account.price().id)
    coupon = v1.coupons.create({"percent_off": 50, "duration": "forever"})
    form: Any = {
        "description": "Team",
        "metadata": {"a": "b"},
        "discounts": [{"coupon": coupon.id}],
        "cancel_at": made["items"].data[0].current_period_end + 5 * DAY,
        "cancellation_details": {"comment": "too far"},
        "payment_settings": {"save_default_payment_method": "on_subscription"},
    }
    changed = v1.subscriptions.update(made.id, form)
    assert (changed.description, changed.cancel_at) == ("Team", form["cancel_at"])
    assert v1.invoices.create_preview({"subscription": made.id}).total == 1000
    undone: Any = {"cancel_at": "", "discounts": "", "description": ""}
    undone_now = v1.subscriptions.update(made.id, undone)
    assert (undone_now.cancel_at, undone_now.discounts, undone_now.description) == (None, [], None)
    with pytest.raises(stripe.InvalidRequestError, match="cancel_at"):
        v1.subscriptions.update(made.id, {"cancel_at": 5})


def test_the_contract_notices_what_is_not_stripe_s(account: Account) -> None:
    found = account.customer().to_dict()
    for wrong in ({"nonsense": 1}, {"created": "today"}):
        with pytest.raises(contract.Broken, match="customer has"):
            contract.check_object(found | wrong)
    with pytest.raises(contract.Broken, match="answers"):
        contract.check_answer("GET /v1/customers/{customer}", {"object": "customer"})
