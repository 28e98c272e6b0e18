"""The gateway pins its version, names failures, sends keys with what must not happen twice, waits for no lock."""

from typing import Any

import pytest
import stripe
from django.conf import settings as django_settings
from django.db import transaction
from djstripe.settings import djstripe_settings

from billing import stripe_client
from billing.sandbox import contract
from billing.stripe_client import OpenTransaction, StripeRefused, StripeUnavailable, client
from tenancy.scope import scope
from tests.billing.double import Double
from tests.factories import Tenant

pytestmark = pytest.mark.django_db


def error(kind: str, **more: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "message": "So it is."} | more}


@pytest.fixture
def double() -> Double:
    return Double()


@pytest.mark.parametrize(
    ("status", "body", "headers", "wait"),
    [
        (429, error("invalid_request_error"), {"Retry-After": "17"}, 17),
        (429, error("invalid_request_error"), {}, stripe_client.BUSY_WAIT),
        (409, error("idempotency_error"), {"stripe-should-retry": "false"}, stripe_client.BUSY_WAIT),
        (500, error("api_error"), {"stripe-should-retry": "false"}, stripe_client.OUTAGE_WAIT),
        (401, error("invalid_request_error"), {}, stripe_client.OUTAGE_WAIT),
        (403, error("invalid_request_error"), {}, stripe_client.OUTAGE_WAIT),
    ],
)
def test_what_may_work_later_says_when(
    double: Double, status: int, body: dict[str, Any], headers: dict[str, str], wait: int
) -> None:
    double.failing = (status, body, headers)
    with pytest.raises(StripeUnavailable) as caught:
        double.client.retrieve("customer", "cus_1")
    assert caught.value.retry_after == wait


def test_a_network_that_is_away_is_unavailable(double: Double) -> None:
    double.error = stripe.APIConnectionError("timed out")  # type: ignore[no-untyped-call]
    with pytest.raises(StripeUnavailable):
        double.client.retrieve("customer", "cus_1")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (402, error("card_error", code="card_declined"), "card_declined"),
        (404, error("invalid_request_error", code="resource_missing"), "resource_missing"),
        (400, error("invalid_request_error"), "refused"),
        (400, error("idempotency_error"), "refused"),
    ],
)
def test_what_is_refused_says_why(double: Double, status: int, body: dict[str, Any], code: str) -> None:
    double.failing = (status, body, {})
    with pytest.raises(StripeRefused, match="So it is") as caught:
        double.client.pay("in_1", key="k")
    assert caught.value.code == code


def test_every_request_names_the_pinned_version_and_every_post_its_key(double: Double) -> None:
    double.objects["customers"] = {"id": "cus_1", "object": "customer"}
    double.client.create_customer(organization_id="o", name="n", email="", key="customer:1")
    [(method, _, headers, form)] = double.requests
    assert method == "post"
    assert headers["Stripe-Version"] == "2026-05-27.dahlia"
    assert headers["Idempotency-Key"] == "customer:1"
    assert "metadata[organization]=o" in form


def test_a_list_is_read_to_its_end(double: Double) -> None:
    pages = [
        {"data": [{"id": "evt_1"}, {"id": "evt_2"}], "has_more": True},
        {"data": [{"id": "evt_3"}], "has_more": False},
    ]

    class Pages(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            return True

        def __getitem__(self, key: str) -> Any:
            return pages.pop(0)

    double.objects = Pages()
    assert [one["id"] for one in double.client.meters()] == ["evt_1", "evt_2", "evt_3"]
    assert "starting_after=evt_2" in double.requests[1][1]


def test_nothing_is_asked_while_a_transaction_is_open(double: Double, tenant: Tenant) -> None:
    with pytest.raises(OpenTransaction), transaction.atomic():
        double.client.retrieve("customer", "cus_1")
    with pytest.raises(OpenTransaction), scope(tenant.organization):
        double.client.retrieve("customer", "cus_1")
    assert double.requests == []


@pytest.mark.django_db(transaction=True)
def test_nothing_is_asked_in_an_open_transaction_outside_of_tests_either(double: Double) -> None:
    with pytest.raises(OpenTransaction), transaction.atomic():
        double.client.retrieve("customer", "cus_1")
    with pytest.raises(StripeRefused):
        double.client.retrieve("customer", "cus_1")


def test_stripe_itself_is_asked_with_the_key_and_given_ten_seconds(settings: Any) -> None:
    settings.STRIPE_API_KEY = "sk_test_of_this_test_0123"
    requestor = client()._stripe._requestor
    assert requestor.api_key == "sk_test_of_this_test_0123"
    assert isinstance(requestor._client, stripe.RequestsClient)
    assert requestor._client._timeout == 10


def test_everybody_speaks_the_pinned_version() -> None:
    assert contract.version() == django_settings.STRIPE_API_VERSION
    assert djstripe_settings.STRIPE_API_VERSION == django_settings.STRIPE_API_VERSION
    assert not djstripe_settings.STRIPE_SECRET_KEY


def test_without_a_key_and_a_simulator_there_is_nobody_to_ask(settings: Any) -> None:
    settings.STRIPE_API_KEY, settings.STRIPE_SANDBOX = "", False
    with pytest.raises(StripeRefused) as caught:
        client()
    assert caught.value.code == "stripe_off"
