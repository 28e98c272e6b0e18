"""Subscriptions run as Stripe's do: paid first, renewed on time, retried, ended."""

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from billing.sandbox import accounts
from billing.sandbox.store import Books
from tests.billing.sandbox.conftest import START, Account

DAY, HOUR = 86_400, 3600


def at(*date: int) -> int:
    """A UTC moment in Unix seconds."""
    return int(datetime(*date, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]


def status(account: Account, subscription: str) -> str:
    return account.client.v1.subscriptions.retrieve(subscription).status


def test_a_paid_subscription_is_active(account: Account) -> None:
    made = account.subscribe(account.customer().id, account.price().id)
    assert made.status == "active"
    [invoice] = account.invoices(made.id)
    assert (invoice.status, invoice.total, invoice.amount_paid, invoice.billing_reason) == (
        "paid",
        2000,
        2000,
        "subscription_create",
    )


def test_every_step_of_a_first_payment_is_told_in_order(account: Account) -> None:
    account.subscribe(account.customer().id, account.price().id)
    told = account.events()
    order = [
        "customer.subscription.created",
        "invoice.created",
        "payment_intent.created",
        "invoice.finalized",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]
    assert [name for name in told if name in order] == order


def test_a_declined_first_payment_leaves_it_incomplete_and_expires_after_23_hours(account: Account) -> None:
    clock = account.clock().id
    customer = account.customer("pm_card_chargeCustomerFail", test_clock=clock)
    made = account.subscribe(customer.id, account.price().id)
    assert made.status == "incomplete"
    account.advance(clock, START + 23 * HOUR - 1)
    assert status(account, made.id) == "incomplete"
    account.advance(clock, START + 23 * HOUR)
    assert status(account, made.id) == "incomplete_expired"
    assert account.invoices(made.id)[0].status == "void"


def test_the_first_event_of_a_subscription_promises_no_payment(account: Account) -> None:
    account.subscribe(account.customer("pm_card_chargeCustomerFail").id, account.price().id)
    [event] = account.client.v1.events.list({"type": "customer.subscription.created"}).data
    assert event.data.object["status"] == "incomplete"


def test_a_declined_payment_undoes_everything_where_that_is_asked_for(account: Account) -> None:
    customer = account.customer("pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError) as declined:
        account.subscribe(customer.id, account.price().id, payment_behavior="error_if_incomplete")
    assert (declined.value.http_status, declined.value.code) == (402, "card_declined")
    assert account.client.v1.subscriptions.list({"status": "all"}).data == []


def test_nobody_subscribes_without_a_card(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        account.subscribe(account.customer(card=None).id, account.price().id)


def test_a_late_first_payment_makes_it_active(account: Account) -> None:
    customer = account.customer(card=None)
    made = account.subscribe(customer.id, account.price().id, payment_behavior="default_incomplete")
    assert made.status == "incomplete"
    account.card(customer.id, "pm_card_visa")
    account.client.v1.invoices.pay(str(made.latest_invoice))
    assert status(account, made.id) == "active"


def test_it_renews_on_its_day_and_is_charged_an_hour_later(account: Account) -> None:
    clock = account.clock(at(2027, 1, 31)).id
    made = account.subscribe(account.customer(test_clock=clock).id, account.price().id)
    ends = []
    for _ in range(4):
        end = account.client.v1.subscriptions.retrieve(made.id)["items"].data[0].current_period_end
        ends.append(datetime.fromtimestamp(end, UTC).strftime("%m-%d"))
        account.advance(clock, end)
        assert account.invoices(made.id)[0].status == "draft"
        account.advance(clock, end + HOUR)
        assert account.invoices(made.id)[0].status == "paid"
    assert ends == ["02-28", "03-31", "04-30", "05-31"]
    assert len(account.invoices(made.id)) == 5


def test_a_leap_day_s_year_ends_on_the_28th_and_comes_back(account: Account) -> None:
    clock = account.clock(at(2028, 2, 29)).id
    price = account.price(recurring={"interval": "year"})
    made = account.subscribe(account.customer(test_clock=clock).id, price.id)
    assert made["items"].data[0].current_period_end == at(2029, 2, 28)
    account.advance(clock, at(2032, 1, 1))
    made = account.client.v1.subscriptions.retrieve(made.id)
    assert made["items"].data[0].current_period_end == at(2032, 2, 29)


def test_one_long_step_does_what_many_short_ones_do(account: Account) -> None:
    told = []
    for steps in (1, 60):
        clock = account.clock().id
        made = account.subscribe(account.customer(test_clock=clock).id, account.price().id)
        for step in range(1, steps + 1):
            account.advance(clock, START + 60 * DAY * step // steps)
        told.append([(one.created, one.total, one.status) for one in account.invoices(made.id)])
    assert told[0] == told[1]
    assert len(told[0]) == 3


def failing(account: Account) -> tuple[str, str, int]:
    """A subscription whose renewal has just failed: its id, its clock, and when that was."""
    clock = account.clock().id
    customer = account.customer(test_clock=clock)
    made = account.subscribe(customer.id, account.price().id)
    account.card(customer.id, "pm_card_chargeCustomerFail")
    end = made["items"].data[0].current_period_end + HOUR
    account.advance(clock, end)
    return made.id, clock, end


def test_a_failed_renewal_is_tried_three_more_times_and_then_ends_where_the_account_chose_that(
    account: Account,
) -> None:
    accounts.choose_after_retries(Books(account.name), accounts.CANCEL)
    made, clock, failed_at = failing(account)
    assert status(account, made) == "past_due"
    plan = []
    while (upcoming := account.invoices(made)[0].next_payment_attempt) is not None:
        plan.append((upcoming - failed_at) // DAY)
        account.advance(clock, upcoming)
    assert plan == [3, 8, 15]
    assert account.invoices(made)[0].attempt_count == 4
    assert status(account, made) == "canceled"
    assert account.client.v1.subscriptions.retrieve(made).cancellation_details.reason == "payment_failed"  # type: ignore[union-attr]
    assert len(account.events("invoice.payment_failed")) == 4


def test_a_new_card_saves_a_past_due_subscription(account: Account) -> None:
    made, clock, failed_at = failing(account)
    customer = str(account.client.v1.subscriptions.retrieve(made).customer)
    assert account.client.v1.customers.retrieve(customer).delinquent is True
    account.card(customer, "pm_card_visa")
    account.advance(clock, failed_at + 3 * DAY)
    assert status(account, made) == "active"
    assert account.client.v1.customers.retrieve(customer).delinquent is False


def test_past_due_it_stays_after_the_last_retry_is_billed_on_and_comes_back_with_a_payment(account: Account) -> None:
    made, clock, failed_at = failing(account)
    account.advance(clock, failed_at + 45 * DAY)
    assert status(account, made) == "past_due"
    newest, oldest = account.invoices(made)[:2]
    assert (oldest.attempt_count, oldest.next_payment_attempt) == (4, None)
    assert (newest.status, newest.attempt_count) == ("open", 4)
    account.card(str(newest.customer), "pm_card_visa")
    for invoice in (oldest, newest):
        account.client.v1.invoices.pay(invoice.id)
    assert status(account, made) == "active"


def test_nothing_is_tried_again_for_a_subscription_that_has_ended(account: Account) -> None:
    made, clock, failed_at = failing(account)
    account.client.v1.subscriptions.cancel(made)
    [owed] = [one for one in account.invoices(made) if one.status == "open"]
    assert (owed.auto_advance, owed.next_payment_attempt) == (False, None)
    account.advance(clock, failed_at + 20 * DAY)
    assert account.invoices(made)[0].attempt_count == 1


def test_the_account_may_choose_unpaid_and_the_next_invoices_stay_drafts(account: Account) -> None:
    accounts.choose_after_retries(Books(account.name), accounts.UNPAID)
    made, clock, failed_at = failing(account)
    account.advance(clock, failed_at + 16 * DAY)
    assert status(account, made) == "unpaid"
    account.advance(clock, failed_at + 40 * DAY)
    newest = account.invoices(made)[0]
    assert (newest.status, newest.auto_advance) == ("draft", False)


def test_a_trial_costs_nothing_reminds_and_then_bills(account: Account) -> None:
    clock = account.clock().id
    made = account.subscribe(account.customer(test_clock=clock).id, account.price().id, trial_period_days=14)
    assert (made.status, account.invoices(made.id)[0].total) == ("trialing", 0)
    account.advance(clock, START + 11 * DAY - 1)
    assert account.events("customer.subscription.trial_will_end") == []
    account.advance(clock, START + 11 * DAY)
    assert account.events("customer.subscription.trial_will_end") == ["customer.subscription.trial_will_end"]
    account.advance(clock, START + 14 * DAY + HOUR)
    assert status(account, made.id) == "active"
    assert [one.total for one in account.invoices(made.id)] == [2000, 0]


@pytest.mark.parametrize(
    ("behavior", "outcome", "invoices"),
    [("cancel", "canceled", 1), ("pause", "paused", 1), ("create_invoice", "past_due", 2)],
)
def test_a_trial_without_a_card_ends_as_was_chosen(
    account: Account, behavior: str, outcome: str, invoices: int
) -> None:
    clock = account.clock().id
    settings = {"end_behavior": {"missing_payment_method": behavior}}
    customer = account.customer(card=None, test_clock=clock)
    made = account.subscribe(customer.id, account.price().id, trial_period_days=7, trial_settings=settings)
    account.advance(clock, START + 7 * DAY + HOUR)
    assert status(account, made.id) == outcome
    assert len(account.invoices(made.id)) == invoices


def test_a_paused_subscription_resumes_with_a_new_period(account: Account) -> None:
    clock = account.clock().id
    settings = {"end_behavior": {"missing_payment_method": "pause"}}
    customer = account.customer(card=None, test_clock=clock)
    made = account.subscribe(customer.id, account.price().id, trial_period_days=7, trial_settings=settings)
    account.advance(clock, START + 20 * DAY)
    account.card(customer.id, "pm_card_visa")
    resumed = account.client.v1.subscriptions.resume(made.id)
    assert resumed.status == "active"
    assert resumed["items"].data[0].current_period_start == START + 20 * DAY
    assert account.invoices(made.id)[0].status == "paid"


def test_it_ends_at_the_period_s_end_where_that_was_asked_for(account: Account) -> None:
    clock = account.clock().id
    made = account.subscribe(account.customer(test_clock=clock).id, account.price().id)
    end = made["items"].data[0].current_period_end
    asked = account.client.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    assert (asked.status, asked.cancel_at) == ("active", end)
    account.advance(clock, end - 1)
    assert status(account, made.id) == "active"
    account.advance(clock, end)
    ended = account.client.v1.subscriptions.retrieve(made.id)
    assert (ended.status, ended.ended_at) == ("canceled", end)
    assert len(account.invoices(made.id)) == 1


def test_one_that_was_to_end_goes_on_where_that_was_taken_back(account: Account) -> None:
    clock = account.clock().id
    made = account.subscribe(account.customer(test_clock=clock).id, account.price().id)
    account.client.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    account.client.v1.subscriptions.update(made.id, {"cancel_at_period_end": False})
    account.advance(clock, START + 32 * DAY)
    assert status(account, made.id) == "active"


def test_a_cancelled_subscription_changes_no_more(account: Account) -> None:
    made = account.subscribe(account.customer().id, account.price().id)
    account.client.v1.subscriptions.cancel(made.id)
    for change in (account.client.v1.subscriptions.cancel, account.client.v1.subscriptions.resume):
        with pytest.raises(stripe.InvalidRequestError):
            change(made.id)
    with pytest.raises(stripe.InvalidRequestError, match="canceled"):
        account.client.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})


@pytest.mark.parametrize(
    ("behavior", "outcome"), [("void", "void"), ("mark_uncollectible", "uncollectible"), ("keep_as_draft", "draft")]
)
def test_paused_collection_bills_nobody(account: Account, behavior: str, outcome: str) -> None:
    clock = account.clock().id
    made = account.subscribe(account.customer(test_clock=clock).id, account.price().id)
    pause: Any = {"behavior": behavior, "resumes_at": START + 40 * DAY}
    account.client.v1.subscriptions.update(made.id, {"pause_collection": pause})
    account.advance(clock, START + 35 * DAY)
    assert account.invoices(made.id)[0].status == outcome
    account.advance(clock, START + 70 * DAY)
    assert account.invoices(made.id)[0].status == "paid"
    assert status(account, made.id) == "active"


def test_several_prices_renew_together_and_each_interval_on_its_own(account: Account) -> None:
    clock = account.clock(at(2027, 1, 1)).id
    monthly, yearly = account.price(1000).id, account.price(12_000, recurring={"interval": "year"}).id
    made = account.subscribe(account.customer(test_clock=clock).id, monthly, yearly)
    assert account.invoices(made.id)[0].total == 13_000
    account.advance(clock, at(2028, 1, 1) + HOUR)
    totals = [one.total for one in account.invoices(made.id)]
    assert totals == [13_000, *[1000] * 11, 13_000]


def test_an_upcoming_invoice_is_told_a_week_before(account: Account) -> None:
    clock = account.clock().id
    made = account.subscribe(account.customer(test_clock=clock).id, account.price(700).id)
    end = made["items"].data[0].current_period_end
    account.advance(clock, end - 7 * DAY)
    [event] = account.client.v1.events.list({"type": "invoice.upcoming"}).data
    assert event.data.object["total"] == 700


def test_a_deleted_customer_s_subscriptions_end(account: Account) -> None:
    customer = account.customer()
    made = account.subscribe(customer.id, account.price().id)
    account.client.v1.customers.delete(customer.id)
    assert status(account, made.id) == "canceled"
    assert account.client.v1.customers.retrieve(customer.id).deleted is True
    with pytest.raises(stripe.InvalidRequestError):
        account.subscribe(customer.id, account.price().id)


def test_a_subscription_billed_by_invoice_is_sent_and_becomes_overdue(account: Account) -> None:
    clock = account.clock().id
    customer = account.customer(card=None, test_clock=clock)
    form = {"collection_method": "send_invoice", "days_until_due": 30}
    made = account.subscribe(customer.id, account.price(recurring={"interval": "year"}).id, **form)
    account.advance(clock, START + HOUR)
    [invoice] = account.invoices(made.id)
    assert (invoice.status, invoice.due_date) == ("open", START + HOUR + 30 * DAY)
    account.advance(clock, START + 31 * DAY)
    assert account.events("invoice.sent", "invoice.overdue") == ["invoice.sent", "invoice.overdue"]
    assert status(account, made.id) == "past_due"
    account.client.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert status(account, made.id) == "active"
