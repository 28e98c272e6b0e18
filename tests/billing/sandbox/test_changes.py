"""Changes in the middle of a period: prorated to the second, and previewed to the cent."""

import random
from typing import Any

import pytest
import stripe

from tests.billing.sandbox.conftest import START, Account

DAY, HOUR = 86_400, 3600
MONTH = 31 * DAY  # the first one from START


def running(account: Account, amount: int = 2000, **more: Any) -> tuple[Any, str]:
    """A subscription on a clock: itself, and the clock's id."""
    clock = account.clock().id
    return account.subscribe(account.customer(test_clock=clock).id, account.price(amount).id, **more), clock


def item(subscription: Any) -> str:
    return str(subscription["items"].data[0].id)


def change(account: Account, subscription: Any, **form: Any) -> Any:
    return account.client.v1.subscriptions.update(subscription.id, form)  # type: ignore[arg-type]


def test_an_upgrade_costs_the_difference_for_the_seconds_left(account: Account) -> None:
    made, clock = running(account)
    account.advance(clock, START + 10 * DAY)
    items = [{"id": item(made), "price": account.price(5000).id}]
    change(account, made, items=items, proration_behavior="always_invoice")
    invoice = account.invoices(made.id)[0]
    left = MONTH - 10 * DAY
    assert [line.amount for line in invoice.lines.data] == [
        -round(2000 * left / MONTH),
        round(5000 * left / MONTH),
    ]
    assert (invoice.status, invoice.billing_reason) == ("paid", "subscription_update")


def test_a_downgrade_gives_back_as_credit_for_the_next_invoices(account: Account) -> None:
    made, clock = running(account, 5000)
    account.advance(clock, START + 10 * DAY)
    items = [{"id": item(made), "price": account.price(2000).id}]
    change(account, made, items=items, proration_behavior="always_invoice")
    left = MONTH - 10 * DAY
    credit = round(5000 * left / MONTH) - round(2000 * left / MONTH)
    customer = account.client.v1.customers.retrieve(made.customer)
    assert customer.balance == -credit
    account.advance(clock, START + MONTH + HOUR)
    newest = account.invoices(made.id)[0]
    owed = max(0, 2000 - credit)
    assert (newest.total, newest.amount_paid, newest.starting_balance) == (2000, owed, -credit)
    assert account.client.v1.customers.retrieve(made.customer).balance == min(0, 2000 - credit)


def test_seats_wait_for_the_renewal_and_come_on_one_invoice(account: Account) -> None:
    made, clock = running(account, 1000)
    for day, seats in ((5, 3), (12, 2), (20, 6)):
        account.advance(clock, START + day * DAY)
        change(account, made, items=[{"id": item(made), "quantity": seats}])
    assert len(account.invoices(made.id)) == 1
    account.advance(clock, START + MONTH + HOUR)
    invoice = account.invoices(made.id)[0]
    expected = 6000
    for day, before, after in ((5, 1, 3), (12, 3, 2), (20, 2, 6)):
        left = MONTH - day * DAY
        expected += round(1000 * after * left / MONTH) - round(1000 * before * left / MONTH)
    assert invoice.total == expected
    assert len(invoice.lines.data) == 7


def test_without_proration_nothing_is_billed_before_the_renewal(account: Account) -> None:
    made, clock = running(account)
    account.advance(clock, START + DAY)
    change(account, made, items=[{"id": item(made), "price": account.price(9000).id}], proration_behavior="none")
    assert account.client.v1.invoice_items.list({"pending": True}).data == []
    account.advance(clock, START + MONTH + HOUR)
    assert account.invoices(made.id)[0].total == 9000


def test_what_was_never_paid_is_never_given_back(account: Account) -> None:
    """A change without proration, then one with: the credit is what the first price cost, not the second."""
    made, clock = running(account, 1000)
    account.advance(clock, START + DAY)
    change(account, made, items=[{"id": item(made), "price": account.price(9000).id}], proration_behavior="none")
    items = [{"id": item(made), "price": account.price(100).id}]
    change(account, made, items=items, proration_behavior="always_invoice")
    credit = account.invoices(made.id)[0].lines.data[0].amount
    assert credit == -round(1000 * (MONTH - DAY) / MONTH)


def test_another_interval_begins_a_new_period_at_once(account: Account) -> None:
    made, clock = running(account, 2000)
    account.advance(clock, START + 10 * DAY)
    yearly = account.price(20_000, recurring={"interval": "year"}).id
    changed = change(account, made, items=[{"id": item(made), "price": yearly}])
    invoice = account.invoices(made.id)[0]
    credit = round(2000 * (MONTH - 10 * DAY) / MONTH)
    assert (invoice.total, invoice.status) == (20_000 - credit, "paid")
    assert changed["items"].data[0].current_period_start == START + 10 * DAY
    assert changed["items"].data[0].current_period_end == START + 375 * DAY


def test_an_item_is_added_and_taken_away_in_proportion(account: Account) -> None:
    made, clock = running(account)
    account.advance(clock, START + 10 * DAY)
    extra = account.price(3100).id
    added = account.client.v1.subscription_items.create({"subscription": made.id, "price": extra, "quantity": 2})
    account.advance(clock, START + 20 * DAY)
    account.client.v1.subscription_items.delete(added.id)
    waiting = account.client.v1.invoice_items.list({"pending": True}).data
    assert [one.amount for one in reversed(waiting)] == [4200, -2200]
    assert len(account.client.v1.subscriptions.retrieve(made.id)["items"].data) == 1


def test_a_trial_s_change_costs_nothing(account: Account) -> None:
    made, clock = running(account, 2000, trial_period_days=14)
    account.advance(clock, START + 7 * DAY)
    items = [{"id": item(made), "price": account.price(5000).id}]
    change(account, made, items=items, proration_behavior="always_invoice")
    account.advance(clock, START + 14 * DAY + HOUR)
    assert [one.total for one in account.invoices(made.id)] == [5000, 0]


def test_a_trial_that_ends_now_is_billed_now(account: Account) -> None:
    made, clock = running(account, 2000, trial_period_days=14)
    account.advance(clock, START + 3 * DAY)
    ended = change(account, made, trial_end="now")
    assert (ended.status, ended["items"].data[0].current_period_start) == ("active", START + 3 * DAY)
    assert (account.invoices(made.id)[0].total, account.invoices(made.id)[0].status) == (2000, "paid")


def test_a_trial_is_extended(account: Account) -> None:
    made, clock = running(account, 2000, trial_period_days=14)
    change(account, made, trial_end=START + 30 * DAY, proration_behavior="none")
    account.advance(clock, START + 29 * DAY)
    assert account.client.v1.subscriptions.retrieve(made.id).status == "trialing"
    account.advance(clock, START + 30 * DAY + HOUR)
    assert account.client.v1.subscriptions.retrieve(made.id).status == "active"


def test_a_declined_upgrade_that_must_be_paid_changes_nothing(account: Account) -> None:
    made, _ = running(account)
    account.card(made.customer, "pm_card_chargeCustomerFail")
    items = [{"id": item(made), "price": account.price(5000).id}]
    with pytest.raises(stripe.CardError):
        change(account, made, items=items, proration_behavior="always_invoice", payment_behavior="error_if_incomplete")
    after = account.client.v1.subscriptions.retrieve(made.id)
    assert (after.status, after["items"].data[0].price.unit_amount) == ("active", 2000)
    assert len(account.invoices(made.id)) == 1


def test_a_declined_upgrade_that_may_wait_is_past_due(account: Account) -> None:
    made, _ = running(account)
    account.card(made.customer, "pm_card_chargeCustomerFail")
    items = [{"id": item(made), "price": account.price(5000).id}]
    after = change(account, made, items=items, proration_behavior="always_invoice")
    assert after.status == "past_due"
    assert account.invoices(made.id)[0].status == "open"


def test_the_date_of_a_proration_lies_in_the_period(account: Account) -> None:
    made, _ = running(account)
    items = [{"id": item(made), "quantity": 2}]
    for date in (START - 1, START + MONTH):
        with pytest.raises(stripe.InvalidRequestError, match="proration_date"):
            change(account, made, items=items, proration_date=date)


def test_currencies_are_not_mixed(account: Account) -> None:
    made, _ = running(account)
    euros = account.price(1000, currency="eur").id
    with pytest.raises(stripe.InvalidRequestError, match="currency"):
        change(account, made, items=[{"price": euros}])
    with pytest.raises(stripe.InvalidRequestError, match="currencies"):
        account.subscribe(made.customer, euros)


def test_a_preview_changes_nothing_and_tells_nobody(account: Account) -> None:
    made, _ = running(account)
    told = len(account.events())
    details = {"items": [{"id": item(made), "quantity": 5}], "proration_behavior": "always_invoice"}
    account.client.v1.invoices.create_preview({"subscription": made.id, "subscription_details": details})  # type: ignore[arg-type]
    assert len(account.events()) == told
    assert account.client.v1.subscriptions.retrieve(made.id)["items"].data[0].quantity == 1
    assert len(account.invoices(made.id)) == 1


def test_a_new_subscription_is_previewed(account: Account) -> None:
    customer, price = account.customer(), account.price(2500).id
    form = {"customer": customer.id, "subscription_details": {"items": [{"price": price, "quantity": 4}]}}
    preview = account.client.v1.invoices.create_preview(form)  # type: ignore[arg-type]
    assert preview.total == 10_000
    assert account.client.v1.subscriptions.list().data == []


@pytest.mark.parametrize("seed", range(8))
def test_a_preview_is_the_later_invoice_to_the_cent(account: Account, seed: int) -> None:
    """Five random changes of price, seats, discount and moment each; the invoice is what was previewed."""
    dice = random.Random(seed)
    prices = [account.price(dice.randint(1, 100_000)).id for _ in range(4)]
    prices.append(account.price(recurring={"interval": "year"}, unit_amount=dice.randint(1, 500_000)).id)
    coupon = account.client.v1.coupons.create({"percent_off": dice.choice([10, 33.3]), "duration": "forever"}).id
    made, clock = running(account, dice.randint(1, 50_000), discounts=[{"coupon": coupon}] if seed % 2 else "")
    now = START
    for _ in range(5):
        now += dice.randint(1, 9 * DAY)
        account.advance(clock, now)
        wanted = {"id": item(account.client.v1.subscriptions.retrieve(made.id)), "quantity": dice.randint(1, 9)}
        form: dict[str, Any] = {
            "items": [wanted | {"price": dice.choice(prices)}],
            "proration_behavior": "always_invoice",
            "proration_date": now - dice.randint(0, 60),
        }
        preview = account.client.v1.invoices.create_preview({"subscription": made.id, "subscription_details": form})  # type: ignore[arg-type]
        count = len(account.invoices(made.id))
        change(account, made, **form)
        if len(account.invoices(made.id)) == count:  # nothing changed: what was shown is the renewal
            continue
        invoice = account.invoices(made.id)[0]
        assert (invoice.total, invoice.amount_due) == (preview.total, preview.amount_due)
        assert [line.amount for line in invoice.lines.data] == [line.amount for line in preview.lines.data]


@pytest.mark.parametrize("seed", range(4))
def test_a_previewed_renewal_is_the_later_renewal_to_the_cent(account: Account, seed: int) -> None:
    dice = random.Random(seed)
    made, clock = running(account, dice.randint(1, 50_000))
    account.advance(clock, START + dice.randint(1, 20 * DAY))
    details = {"items": [{"id": item(made), "quantity": dice.randint(2, 50)}]}
    before = account.client.v1.invoices.create_preview({"subscription": made.id, "subscription_details": details})  # type: ignore[arg-type]
    change(account, made, **details)
    preview = account.client.v1.invoices.create_preview({"subscription": made.id})
    assert (before.total, len(before.lines.data)) == (preview.total, len(preview.lines.data))
    account.advance(clock, START + MONTH + HOUR)
    invoice = account.invoices(made.id)[0]
    assert (invoice.total, invoice.amount_paid) == (preview.total, preview.amount_due)
