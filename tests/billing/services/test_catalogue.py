"""Stripe sells what the catalogue says: what is missing is made, what differs is named and left alone."""

import uuid

import pytest

from billing.plans import PLANS, Allowance
from billing.sandbox.transport import SandboxTransport
from billing.services import catalogue
from billing.stripe_client import StripeClient

PRICES = sum(len(one.prices) for one in PLANS)


@pytest.fixture
def stripe(db: None) -> StripeClient:
    """An account that sells nothing yet."""
    key = f"sk_test_{uuid.uuid4().hex}"
    return StripeClient(key, SandboxTransport({key: f"acct_{uuid.uuid4().hex[:16]}"}), lambda customer: 0)


def test_an_empty_account_lacks_every_price_and_meter(stripe: StripeClient) -> None:
    found = catalogue.differences(stripe)
    assert len(found) == PRICES + 4
    assert "pro-v1-monthly is missing at Stripe." in found
    assert "The meter operations is missing at Stripe." in found


def test_what_is_pushed_is_what_the_catalogue_says(stripe: StripeClient) -> None:
    made = catalogue.push(stripe)
    assert len(made) == PRICES + 4
    assert catalogue.differences(stripe) == []
    [monthly] = [one for one in stripe.list_prices() if one["lookup_key"] == "scale-v1-yearly"]
    assert (monthly["unit_amount"], monthly["product"]["name"]) == (249_000, "Capsule Memory Scale")


def test_a_second_push_makes_nothing(stripe: StripeClient) -> None:
    catalogue.push(stripe)
    assert catalogue.push(stripe) == []


def test_an_interrupted_push_goes_on_where_it_was(stripe: StripeClient) -> None:
    stripe.create_meter(name=Allowance.OPERATIONS, title="Operations", key="")
    product = stripe.create_product({"id": "capsule_pro", "name": "Capsule Memory Pro"}, key="")
    form = {"product": product["id"], "currency": "usd", "unit_amount": 29_00, "lookup_key": "pro-v1-monthly"}
    stripe.create_price(form | {"recurring": {"interval": "month"}}, key="")
    assert len(catalogue.push(stripe)) == PRICES + 4 - 2
    assert catalogue.differences(stripe) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"unit_amount": 30_00}, "pro-v1-monthly costs 2900 here and 3000 at Stripe."),
        ({"currency": "eur"}, "pro-v1-monthly is in usd here and eur at Stripe."),
        ({"recurring": {"interval": "week"}}, "pro-v1-monthly is paid every month here and week at Stripe."),
        (
            {"recurring": {"interval": "month", "interval_count": 2}},
            "pro-v1-monthly is paid every month here and ('month', 2) at Stripe.",
        ),
    ],
)
def test_a_price_that_differs_is_named_and_stays(
    stripe: StripeClient, change: dict[str, object], sentence: str
) -> None:
    product = stripe.create_product({"name": "Pro"}, key="")
    form = {"product": product["id"], "currency": "usd", "unit_amount": 29_00, "recurring": {"interval": "month"}}
    stripe.create_price(form | {"lookup_key": "pro-v1-monthly"} | change, key="")
    catalogue.push(stripe)
    assert catalogue.differences(stripe) == [sentence]


def test_another_rate_or_meter_of_use_is_named(stripe: StripeClient) -> None:
    meter = stripe.create_meter(name="others", title="Others", key="")
    product = stripe.create_product({"name": "Pro"}, key="")
    form = {
        "product": product["id"],
        "currency": "usd",
        "lookup_key": "pro-v1-operations",
        "billing_scheme": "tiered",
        "tiers_mode": "graduated",
        "tiers": [{"up_to": 250_000, "unit_amount": 0}, {"up_to": "inf", "unit_amount_decimal": "0.013"}],
        "recurring": {"interval": "month", "usage_type": "metered", "meter": meter["id"]},
    }
    stripe.create_price(form, key="")
    catalogue.push(stripe)
    first, second = catalogue.differences(stripe)
    assert first == "pro-v1-operations is counted by operations here and others at Stripe."
    assert "0.012" in first + second
    assert "0.013" in second


@pytest.mark.parametrize(("lookup_key", "is_ours"), [("pro-v9-monthly", True), ("mug-v1-once", False), ("pro", False)])
def test_a_price_of_a_plan_that_the_catalogue_does_not_have_is_named(
    stripe: StripeClient, lookup_key: str, is_ours: bool
) -> None:
    catalogue.push(stripe)
    product = stripe.create_product({"name": "Old"}, key="")
    form = {"product": product["id"], "currency": "usd", "unit_amount": 1, "recurring": {"interval": "month"}}
    stripe.create_price(form | {"lookup_key": lookup_key}, key="")
    expected = [f"{lookup_key} is sold at Stripe, and is not in the catalogue."]
    assert catalogue.differences(stripe) == (expected if is_ours else [])
