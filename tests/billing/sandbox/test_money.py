"""Invoices by hand, credit notes, refunds, coupons, meters and schedules."""

from decimal import Decimal
from typing import Any

import pytest
import stripe

from billing.sandbox import catalogue
from tests.billing.sandbox.conftest import START, Account

DAY, HOUR = 86_400, 3600
MONTH = 31 * DAY


def invoice(account: Account, *amounts: int, customer: str | None = None, **more: Any) -> stripe.Invoice:
    """A draft by hand with the amounts, billed by invoice."""
    customer = customer or account.customer().id
    form = {"customer": customer, "collection_method": "send_invoice", "days_until_due": 30} | more
    made = account.client.v1.invoices.create(form)  # type: ignore[arg-type]
    for amount in amounts:
        item = {"customer": customer, "invoice": made.id, "amount": amount, "currency": "usd", "description": "Work"}
        account.client.v1.invoice_items.create(item)  # type: ignore[arg-type]
    return account.client.v1.invoices.retrieve(made.id)


# --- Invoices by hand ---


def test_an_invoice_by_hand_is_finalized_sent_and_paid_out_of_band(account: Account) -> None:
    made = invoice(account, 5000, 250, auto_advance=False)
    assert (made.status, made.total, made.number) == ("draft", 5250, None)
    sent = account.client.v1.invoices.send_invoice(made.id)
    assert sent.status == "open"
    assert str(sent.number).endswith("-0001")
    paid = account.client.v1.invoices.pay(made.id, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_remaining, paid.amount_paid_off_stripe) == ("paid", 0, 5250)
    assert account.client.v1.charges.list().data == []


def test_numbers_go_up_one_by_one_for_a_customer(account: Account) -> None:
    customer = account.customer().id
    numbers = [
        account.client.v1.invoices.finalize_invoice(invoice(account, 100, customer=customer).id).number
        for _ in range(3)
    ]
    assert [str(number)[-4:] for number in numbers] == ["0001", "0002", "0003"]


def test_a_refused_payment_is_402_and_stays_on_the_invoice(account: Account) -> None:
    made = invoice(account, 5000, customer=account.customer("pm_card_chargeCustomerFail").id)
    account.client.v1.invoices.finalize_invoice(made.id)
    with pytest.raises(stripe.CardError) as refused:
        account.client.v1.invoices.pay(made.id)
    error: Any = refused.value.error
    assert (refused.value.http_status, refused.value.code, error.decline_code) == (
        402,
        "card_declined",
        "generic_decline",
    )
    after = account.client.v1.invoices.retrieve(made.id)
    assert (after.status, after.attempt_count) == ("open", 1)
    assert account.client.v1.charges.list().data[0].status == "failed"


def test_a_finished_invoice_changes_no_more(account: Account) -> None:
    made = invoice(account, 5000)
    account.client.v1.invoices.void_invoice(account.client.v1.invoices.finalize_invoice(made.id).id)
    for refused in (
        account.client.v1.invoices.pay,
        account.client.v1.invoices.finalize_invoice,
        account.client.v1.invoices.void_invoice,
        account.client.v1.invoices.delete,
    ):
        with pytest.raises(stripe.InvalidRequestError):
            refused(made.id)


def test_what_waits_for_a_customer_comes_on_the_next_invoice_that_includes_it(account: Account) -> None:
    customer = account.customer().id
    waiting = {"customer": customer, "amount": 700, "currency": "usd"}
    account.client.v1.invoice_items.create(waiting)  # type: ignore[arg-type]
    assert invoice(account, customer=customer).total == 0
    taken = invoice(account, customer=customer, pending_invoice_items_behavior="include")
    assert taken.total == 700
    account.client.v1.invoices.delete(taken.id)
    assert len(account.client.v1.invoice_items.list({"pending": True}).data) == 1


def test_a_customer_s_credit_pays_first(account: Account) -> None:
    customer = account.customer().id
    credit = {"amount": -3000, "currency": "usd"}
    account.client.v1.customers.balance_transactions.create(customer, credit)  # type: ignore[arg-type]
    made = invoice(account, 5000, customer=customer)
    finalized = account.client.v1.invoices.finalize_invoice(made.id)
    assert (finalized.total, finalized.amount_due, finalized.ending_balance) == (5000, 2000, 0)
    assert [one.amount for one in account.client.v1.customers.balance_transactions.list(customer).data] == [3000, -3000]


# --- Credit notes and refunds ---


def test_a_credit_note_lowers_what_is_owed(account: Account) -> None:
    made = account.client.v1.invoices.finalize_invoice(invoice(account, 5000).id)
    note = account.client.v1.credit_notes.create({"invoice": made.id, "amount": 2000, "reason": "order_change"})
    after = account.client.v1.invoices.retrieve(made.id)
    assert (note.type, note.number, after.amount_remaining) == ("pre_payment", f"{made.number}-CN-01", 3000)
    account.client.v1.credit_notes.void_credit_note(note.id)
    assert account.client.v1.invoices.retrieve(made.id).amount_remaining == 5000


def test_a_credit_note_for_everything_closes_the_invoice(account: Account) -> None:
    made = account.client.v1.invoices.finalize_invoice(invoice(account, 5000).id)
    account.client.v1.credit_notes.create({"invoice": made.id, "amount": 5000})
    assert account.client.v1.invoices.retrieve(made.id).status == "paid"


def test_a_paid_invoice_is_credited_and_refunded_as_split(account: Account) -> None:
    made = account.subscribe(account.customer().id, account.price(5000).id)
    [paid] = account.invoices(made.id)
    form = {"invoice": paid.id, "amount": 3000, "refund_amount": 1000, "credit_amount": 1500, "out_of_band_amount": 500}
    note = account.client.v1.credit_notes.create(form)  # type: ignore[arg-type]
    assert (note.type, note.post_payment_amount, note.out_of_band_amount) == ("post_payment", 3000, 500)
    assert account.client.v1.customers.retrieve(str(made.customer)).balance == -1500
    assert [one.amount for one in account.client.v1.refunds.list().data] == [1000]
    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.credit_notes.create({"invoice": paid.id, "amount": 2001, "credit_amount": 2001})


def test_a_refund_gives_back_no_more_than_was_taken(account: Account) -> None:
    account.subscribe(account.customer().id, account.price(5000).id)
    [charge] = account.client.v1.charges.list().data
    account.client.v1.refunds.create({"charge": charge.id, "amount": 4000})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        account.client.v1.refunds.create({"charge": charge.id, "amount": 1001})
    account.client.v1.refunds.create({"payment_intent": str(charge.payment_intent)})
    after = account.client.v1.charges.retrieve(charge.id, {"expand": ["refunds"]})
    assert (after.refunded, after.amount_refunded, len(after.refunds.data)) == (True, 5000, 2)  # type: ignore[union-attr]
    with pytest.raises(stripe.InvalidRequestError, match="already been refunded"):
        account.client.v1.refunds.create({"charge": charge.id})


# --- Coupons ---


@pytest.mark.parametrize(
    ("form", "totals"),
    [
        ({"percent_off": 25, "duration": "once"}, [1500, 2000, 2000]),
        ({"percent_off": 25, "duration": "repeating", "duration_in_months": 2}, [1500, 1500, 2000]),
        ({"percent_off": 100, "duration": "forever"}, [0, 0, 0]),
        ({"amount_off": 300, "currency": "usd", "duration": "forever"}, [1700, 1700, 1700]),
        ({"amount_off": 9000, "currency": "usd", "duration": "once"}, [0, 2000, 2000]),
    ],
)
def test_a_coupon_takes_off_for_as_long_as_it_says(account: Account, form: Any, totals: list[int]) -> None:
    clock, coupon = account.clock().id, account.client.v1.coupons.create(form)
    made = account.subscribe(
        account.customer(test_clock=clock).id, account.price().id, discounts=[{"coupon": coupon.id}]
    )
    account.advance(clock, START + 60 * DAY)
    assert [one.total for one in reversed(account.invoices(made.id))] == totals


def test_a_code_is_redeemed_no_oftener_than_it_may(account: Account) -> None:
    coupon = account.client.v1.coupons.create({"percent_off": 10, "duration": "once"})
    code = account.client.v1.promotion_codes.create(
        {"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "ONE", "max_redemptions": 1}
    )
    discounts = [{"promotion_code": code.id}]
    account.subscribe(account.customer().id, account.price().id, discounts=discounts)
    with pytest.raises(stripe.InvalidRequestError, match="redeemed too often"):
        account.subscribe(account.customer().id, account.price().id, discounts=discounts)


# --- Prices and meters ---


@pytest.mark.parametrize(
    ("mode", "quantity", "amount"),
    [
        ("graduated", 0, 0),
        ("graduated", 100, 1000),
        ("graduated", 150, 1250),
        ("volume", 100, 1000),
        ("volume", 150, 750),
    ],
)
def test_tiers_are_counted_as_their_mode_says(account: Account, mode: str, quantity: int, amount: int) -> None:
    tiers = [{"up_to": 100, "unit_amount": 10}, {"up_to": "inf", "unit_amount": 5}]
    form = {
        "product": account.product(),
        "currency": "usd",
        "recurring": {"interval": "month"},
        "billing_scheme": "tiered",
        "tiers_mode": mode,
        "tiers": tiers,
    }
    made = account.client.v1.prices.create(form)  # type: ignore[arg-type]
    shown: Any = account.client.v1.prices.retrieve(made.id, {"expand": ["tiers"]})
    assert [one.unit_amount for one in shown.tiers] == [10, 5]
    sub = account.client.v1.subscriptions.create(
        {"customer": account.customer().id, "items": [{"price": made.id, "quantity": quantity}]}
    )
    assert account.invoices(sub.id)[0].total == amount


def test_sub_cent_prices_are_rounded_once_a_line() -> None:
    price = {"billing_scheme": "per_unit", "unit_amount_decimal": "0.0125", "transform_quantity": None}
    assert catalogue.cents(catalogue.amount_of(price, Decimal(1_000_000))) == 12_500
    assert catalogue.cents(catalogue.amount_of(price, Decimal(40))) == 1


def test_a_lookup_key_is_one_price_s(account: Account) -> None:
    first = account.price(lookup_key="pro-v1-monthly")
    with pytest.raises(stripe.InvalidRequestError, match="lookup key"):
        account.price(lookup_key="pro-v1-monthly")
    second = account.price(lookup_key="pro-v1-monthly", transfer_lookup_key=True)
    found = account.client.v1.prices.list({"lookup_keys": ["pro-v1-monthly"]}).data
    assert [one.id for one in found] == [second.id]
    assert account.client.v1.prices.retrieve(first.id).lookup_key is None


def meter(account: Account, **more: Any) -> stripe.billing.Meter:
    form = {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}} | more
    return account.client.v1.billing.meters.create(form)  # type: ignore[arg-type]


def report(account: Account, customer: str, value: int, at: int, identifier: str) -> None:
    payload = {"stripe_customer_id": customer, "value": str(value)}
    form = {"event_name": "calls", "payload": payload, "timestamp": at, "identifier": identifier}
    account.client.v1.billing.meter_events.create(form)  # type: ignore[arg-type]


def test_usage_is_billed_when_the_period_is_over(account: Account) -> None:
    clock = account.clock().id
    customer = account.customer(test_clock=clock).id
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter(account).id}
    form = {"product": account.product(), "currency": "usd", "unit_amount_decimal": "0.5", "recurring": recurring}
    price = account.client.v1.prices.create(form)  # type: ignore[arg-type]
    made = account.subscribe(customer, price.id)
    assert (made.status, account.invoices(made.id)[0].total) == ("active", 0)
    for day in range(1, 31, 5):
        account.advance(clock, START + day * DAY)
        report(account, customer, 101, START + day * DAY, f"d{day}")
    preview = account.client.v1.invoices.create_preview({"subscription": made.id})
    account.advance(clock, START + MONTH + HOUR)
    billed = account.invoices(made.id)[0]
    assert billed.total == preview.total == 303
    assert (billed.lines.data[0].quantity, billed.lines.data[0].period.start) == (606, START)


def test_usage_that_arrives_while_the_invoice_is_a_draft_is_on_it(account: Account) -> None:
    clock = account.clock().id
    customer = account.customer(test_clock=clock).id
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter(account).id}
    form = {"product": account.product(), "currency": "usd", "unit_amount_decimal": "0.5", "recurring": recurring}
    price = account.client.v1.prices.create(form)  # type: ignore[arg-type]
    off = account.client.v1.coupons.create({"percent_off": 50, "duration": "forever"})
    made = account.subscribe(customer, price.id, discounts=[{"coupon": off.id}])
    report(account, customer, 100, START, "in time")
    account.advance(clock, START + MONTH + 60)
    draft = account.invoices(made.id)[0]
    assert (draft.status, draft.lines.data[0].quantity, draft.total) == ("draft", 100, 25)
    report(account, customer, 300, START + MONTH - 1, "late")
    report(account, customer, 9_000, START + MONTH, "of the next period")
    account.advance(clock, START + MONTH + HOUR)
    billed = account.invoices(made.id)[0]
    [line] = billed.lines.data
    assert (billed.id, billed.status) == (draft.id, "paid")
    assert (line.quantity, line.amount, billed.subtotal, billed.total, billed.amount_paid) == (400, 200, 200, 100, 100)
    assert str(line.description).startswith("400 ")
    report(account, customer, 50, START + MONTH - 1, "too late")
    account.advance(clock, START + MONTH + 2 * HOUR)
    assert account.invoices(made.id)[0].total == 100, "what is final stays"


def test_an_identifier_counts_once(account: Account) -> None:
    meter(account)
    clock = account.clock().id
    customer = account.customer(test_clock=clock).id
    report(account, customer, 5, START, "once")
    with pytest.raises(stripe.InvalidRequestError, match="already exists with identifier once"):
        report(account, customer, 5, START, "once")


@pytest.mark.parametrize("value", ["", "many", "NaN", "Infinity", "1e18"])
def test_a_meter_counts_numbers_alone(account: Account, value: str) -> None:
    meter(account)
    payload = {"stripe_customer_id": account.customer().id, "value": value}
    with pytest.raises(stripe.InvalidRequestError, match="must be a number"):
        account.client.v1.billing.meter_events.create({"event_name": "calls", "payload": payload})


@pytest.mark.parametrize("offset", [-35 * DAY - 1, 301])
def test_an_event_is_neither_too_old_nor_in_the_future(account: Account, offset: int) -> None:
    meter(account)
    customer = account.customer(test_clock=account.clock().id).id
    with pytest.raises(stripe.InvalidRequestError, match="timestamp"):
        report(account, customer, 5, START + offset, "x")


def test_summaries_are_of_hours_days_or_everything(account: Account) -> None:
    found = meter(account)
    customer = account.customer(test_clock=account.clock(START + 2 * DAY).id).id
    for number, at in enumerate((START, START + 60, START + 2 * HOUR, START + DAY)):
        report(account, customer, 1 + number, at, f"e{number}")
    form: Any = {"customer": customer, "start_time": START, "end_time": START + 2 * DAY}
    summaries = account.client.v1.billing.meters.event_summaries
    assert [one.aggregated_value for one in summaries.list(found.id, form).data] == [10]
    hourly = summaries.list(found.id, form | {"value_grouping_window": "hour"}).data
    assert [one.aggregated_value for one in hourly] == [4, 3, 3]
    account.client.v1.billing.meter_event_adjustments.create(
        {"event_name": "calls", "type": "cancel", "cancel": {"identifier": "e3"}}
    )
    assert [one.aggregated_value for one in summaries.list(found.id, form).data] == [6]
    with pytest.raises(stripe.InvalidRequestError, match="whole minutes"):
        summaries.list(found.id, form | {"start_time": START + 1})


def test_of_a_meter_s_window_the_newest_event_counts(account: Account) -> None:
    found = meter(account, event_time_window="hour")
    customer = account.customer(test_clock=account.clock(START + DAY).id).id
    for number, value in enumerate((10, 25, 20)):
        report(account, customer, value, START + number * 60, f"e{number}")
    form: Any = {"customer": customer, "start_time": START, "end_time": START + DAY}
    [summary] = account.client.v1.billing.meters.event_summaries.list(found.id, form).data
    assert summary.aggregated_value == 20


# --- Schedules ---


def later(account: Account) -> tuple[Any, str, Any]:
    """A subscription that goes from 5000 to 2000 at the period's end: itself, its clock, the schedule."""
    clock = account.clock().id
    high, low = account.price(5000).id, account.price(2000).id
    made = account.subscribe(account.customer(test_clock=clock).id, high)
    schedule = account.client.v1.subscription_schedules.create({"from_subscription": made.id})
    first = schedule.phases[0]
    phases = [
        {"items": [{"price": high, "quantity": 1}], "start_date": first.start_date, "end_date": first.end_date},
        {"items": [{"price": low, "quantity": 1}], "duration": {"interval": "month", "interval_count": 1}},
    ]
    account.client.v1.subscription_schedules.update(schedule.id, {"phases": phases})  # type: ignore[arg-type]
    return made, clock, schedule


def test_a_scheduled_downgrade_comes_at_the_period_s_end_without_credit(account: Account) -> None:
    made, clock, schedule = later(account)
    preview = account.client.v1.invoices.create_preview({"subscription": made.id})
    account.advance(clock, START + MONTH - 1)
    assert account.client.v1.subscriptions.retrieve(made.id)["items"].data[0].price.unit_amount == 5000
    account.advance(clock, START + MONTH + HOUR)
    newest = account.invoices(made.id)[0]
    assert (newest.total, newest.status, preview.total) == (2000, "paid", 2000)
    assert len(newest.lines.data) == 1
    account.advance(clock, START + 62 * DAY)
    after = account.client.v1.subscription_schedules.retrieve(schedule.id)
    assert (after.status, after.released_subscription) == ("released", made.id)
    assert account.client.v1.subscriptions.retrieve(made.id).schedule is None


def test_a_released_schedule_changes_nothing_more(account: Account) -> None:
    made, clock, schedule = later(account)
    account.client.v1.subscription_schedules.release(schedule.id)
    account.advance(clock, START + MONTH + HOUR)
    assert account.invoices(made.id)[0].total == 5000
    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.subscription_schedules.release(schedule.id)


def test_a_schedule_may_begin_later_and_end_its_subscription(account: Account) -> None:
    clock = account.clock().id
    form = {
        "customer": account.customer(test_clock=clock).id,
        "start_date": START + DAY,
        "end_behavior": "cancel",
        "phases": [{"items": [{"price": account.price().id}], "duration": {"interval": "month", "interval_count": 2}}],
    }
    made = account.client.v1.subscription_schedules.create(form)  # type: ignore[arg-type]
    assert made.status == "not_started"
    account.advance(clock, START + DAY + HOUR)
    running = account.client.v1.subscription_schedules.retrieve(made.id)
    assert running.status == "active"
    account.advance(clock, START + 70 * DAY)
    assert account.client.v1.subscription_schedules.retrieve(made.id).status == "completed"
    assert account.client.v1.subscriptions.retrieve(str(running.subscription)).status == "canceled"
    assert account.events("subscription_schedule.expiring") == ["subscription_schedule.expiring"]
