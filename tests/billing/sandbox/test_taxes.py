"""Taxes by the customer's country, with the reverse charge, in Stripe's shapes; and every preview is its invoice."""

import random
from typing import Any

import pytest
import stripe

from tests.billing.sandbox.conftest import START, Account

DAY, HOUR = 86_400, 3600
ON: Any = {"automatic_tax": {"enabled": True}}


def resident(account: Account, country: str, **more: Any) -> stripe.Customer:
    """A customer with an address in the country."""
    return account.customer(address={"country": country}, **more)


def newest(account: Account, subscription: str) -> stripe.Invoice:
    return account.invoices(subscription)[0]


@pytest.mark.parametrize(("country", "tax"), [("DE", 380), ("FI", 510), ("GB", 400), ("CH", 162), ("US", 0), ("JP", 0)])
def test_the_rate_is_that_of_the_country(account: Account, country: str, tax: int) -> None:
    made = account.subscribe(resident(account, country).id, account.price(2000).id, **ON)
    invoice = newest(account, made.id)
    assert (invoice.subtotal, invoice.total, invoice.total_excluding_tax) == (2000, 2000 + tax, 2000)
    assert (invoice.status, invoice.amount_paid) == ("paid", 2000 + tax)
    assert invoice.automatic_tax.status == "complete"
    assert sum(one.amount for one in invoice.total_taxes or []) == tax
    if tax:
        [line] = invoice.lines.data
        [own] = line.taxes or []
        assert (own.amount, own.taxable_amount, own.tax_behavior) == (tax, 2000, "exclusive")
        rate = account.client.v1.tax_rates.retrieve(str(own.tax_rate_details.tax_rate))  # type: ignore[union-attr]
        assert (rate.country, rate.inclusive) == (country, False)


@pytest.mark.parametrize(
    ("given", "reason", "tax"),
    [
        ({"tax_id_data": [{"type": "eu_vat", "value": "DE123456789"}]}, "reverse_charge", 0),
        ({"tax_id_data": [{"type": "gb_vat", "value": "GB123456789"}]}, "standard_rated", 380),
        ({"tax_exempt": "reverse"}, "reverse_charge", 0),
        ({"tax_exempt": "exempt"}, "customer_exempt", 0),
    ],
)
def test_a_business_owes_the_tax_itself(account: Account, given: dict[str, Any], reason: str, tax: int) -> None:
    made = account.subscribe(resident(account, "DE", **given).id, account.price(2000).id, **ON)
    [found] = newest(account, made.id).total_taxes or []
    assert (found.taxability_reason, found.amount) == (reason, tax)


def test_without_a_country_nothing_is_sold_with_taxes(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="location") as refused:
        account.subscribe(account.customer().id, account.price().id, **ON)
    assert refused.value.code == "customer_tax_location_invalid"


def test_a_country_that_gets_lost_closes_the_renewal_without_taxes_and_says_so(account: Account) -> None:
    clock = account.clock().id
    customer = resident(account, "DE", test_clock=clock)
    made = account.subscribe(customer.id, account.price(2000).id, **ON)
    account.client.v1.customers.update(customer.id, {"address": ""})
    account.advance(clock, made["items"].data[0].current_period_end + HOUR)
    invoice = newest(account, made.id)
    assert (invoice.status, invoice.total) == ("paid", 2000)
    assert invoice.automatic_tax.disabled_reason == "finalization_requires_location_inputs"


@pytest.mark.parametrize(("is_inclusive", "total", "tax"), [(False, 2200, 200), (True, 2000, 182)])
def test_a_rate_by_hand_is_on_top_or_within(account: Account, is_inclusive: bool, total: int, tax: int) -> None:
    form: Any = {"display_name": "GST", "percentage": 10, "inclusive": is_inclusive}
    rate = account.client.v1.tax_rates.create(form)
    made = account.subscribe(account.customer().id, account.price(2000).id, default_tax_rates=[rate.id])
    invoice = newest(account, made.id)
    assert (invoice.total, invoice.total_excluding_tax) == (total, total - tax)
    assert [one.amount for one in invoice.total_taxes or []] == [tax]


def test_discounts_come_off_before_the_tax(account: Account) -> None:
    coupon = account.client.v1.coupons.create({"percent_off": 50, "duration": "once"})
    customer = resident(account, "DE")
    made = account.subscribe(customer.id, account.price(2000).id, discounts=[{"coupon": coupon.id}], **ON)
    assert newest(account, made.id).total == 1190


def test_an_invoice_by_hand_is_taxed_line_by_line(account: Account) -> None:
    customer = resident(account, "DE")
    form: Any = {"customer": customer.id, "currency": "usd", **ON}
    draft = account.client.v1.invoices.create(form)
    for amount in (333, 334, -100):
        account.client.v1.invoice_items.create(
            {"customer": customer.id, "invoice": draft.id, "amount": amount, "currency": "usd"}
        )
    made = account.client.v1.invoices.finalize_invoice(str(draft.id))
    assert sorted(tax.amount for line in made.lines.data for tax in line.taxes or []) == [-19, 63, 63]
    assert (made.subtotal, made.total) == (567, 674)


@pytest.mark.parametrize("seed", range(6))
def test_a_preview_is_the_invoice_to_the_cent_with_its_taxes(account: Account, seed: int) -> None:
    chance = random.Random(seed)
    clock = account.clock().id
    country = chance.choice(["DE", "FI", "CH", "LU"])
    customer = resident(account, country, test_clock=clock)
    prices = [account.price(amount).id for amount in (1999, 4937, 333)]
    made = account.subscribe(customer.id, prices[0], **ON)
    item = made["items"].data[0].id
    at = START + chance.randrange(DAY, 27 * DAY)
    account.advance(clock, at)
    items: Any = [{"id": item, "price": chance.choice(prices[1:]), "quantity": chance.randrange(1, 9)}]
    details: Any = {"items": items, "proration_date": at, "proration_behavior": "always_invoice"}
    form: Any = {"customer": customer.id, "subscription": made.id, "subscription_details": details}
    preview = account.client.v1.invoices.create_preview(form)
    account.client.v1.subscriptions.update(
        made.id, {"items": items, "proration_date": at, "proration_behavior": "always_invoice"}
    )
    invoice = newest(account, made.id)
    assert preview.total_taxes
    shown = [
        (one.total, one.total_excluding_tax, one.amount_due, [tax.amount for tax in one.total_taxes or []])
        for one in (preview, invoice)
    ]
    assert shown[0] == shown[1]
