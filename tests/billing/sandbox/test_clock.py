"""The time machine: a customer's time passes as asked, and by itself."""

from datetime import timedelta

import pytest
import stripe

from billing.sandbox import clock
from billing.sandbox.refusals import Refusal
from tests.billing.sandbox.conftest import START, Account

DAY, HOUR = 86_400, 3600


def test_a_customer_without_a_clock_is_advanced_alone(account: Account) -> None:
    price = account.price().id
    one, other = account.customer().id, account.customer().id
    ahead, behind = account.subscribe(one, price), account.subscribe(other, price)
    now = clock.advance(one, timedelta(days=40), account=account.name)
    assert now - clock.now_of(other, account=account.name) == pytest.approx(40 * DAY, abs=60)
    assert [invoice.status for invoice in account.invoices(ahead.id)] == ["paid", "paid"]
    assert len(account.invoices(behind.id)) == 1


def test_advancing_twice_adds_up(account: Account) -> None:
    customer = account.customer().id
    made = account.subscribe(customer, account.price().id)
    for _ in range(2):
        clock.advance(customer, timedelta(days=35), account=account.name)
    assert len(account.invoices(made.id)) == 3


def test_a_customer_on_a_test_clock_takes_the_others_along(account: Account) -> None:
    shared, price = account.clock().id, account.price().id
    made = [account.subscribe(account.customer(test_clock=shared).id, price) for _ in range(2)]
    now = clock.advance(str(made[0].customer), timedelta(days=40), account=account.name)
    assert now == START + 40 * DAY
    assert [len(account.invoices(one.id)) for one in made] == [2, 2]


def test_time_that_simply_passes_renews_too(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    made = account.subscribe(account.customer().id, account.price().id)
    frozen = account.subscribe(account.customer(test_clock=account.clock().id).id, account.price().id)
    later = made["items"].data[0].current_period_end + HOUR
    clock.tick()
    assert len(account.invoices(made.id)) == 1
    monkeypatch.setattr("time.time", lambda: float(later))
    clock.tick()
    assert [invoice.status for invoice in account.invoices(made.id)] == ["paid", "paid"]
    assert len(account.invoices(frozen.id)) == 1


def test_nobody_advances_a_customer_who_is_not_there(account: Account) -> None:
    with pytest.raises(Refusal, match="No such customer"):
        clock.advance("cus_none", timedelta(days=1), account=account.name)


def test_a_clock_goes_forward_alone(account: Account) -> None:
    made = account.clock().id
    with pytest.raises(stripe.InvalidRequestError, match="forward"):
        account.advance(made, START)


def test_a_deleted_clock_takes_its_customers_along(account: Account) -> None:
    made = account.clock().id
    customer = account.customer(test_clock=made).id
    account.subscribe(customer, account.price().id)
    account.client.v1.test_helpers.test_clocks.delete(made)
    assert account.client.v1.subscriptions.list({"status": "all"}).data == []
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        account.client.v1.customers.retrieve(customer)
