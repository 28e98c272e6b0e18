"""Subscriptions run as Stripe's do: paid first, renewed on time, retried, ended."""

from tests.billing.sandbox.conftest import Account

DAY = 86_400


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
