"""An event of Stripe's is stored once, in one statement; whatever is not for us leaves nothing behind."""

import json
import time
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from billing.models import BillingAccount, StripeEvent
from billing.webhooks import LARGEST_BODY
from tenancy.audit import actions
from tenancy.audit.attempts import services as attempts
from tenancy.scope import scope
from tests.billing.signing import PATH, SECRET, make_event, post, signature
from tests.factories import Tenant
from tests.threads import at_once
from tests.trail import audited


@pytest.fixture(autouse=True)
def _secrets(db: None, settings: Any) -> None:
    settings.STRIPE_WEBHOOK_SECRETS = ["whsec_old", SECRET]


def stored(event: dict[str, Any]) -> int:
    return StripeEvent.objects.filter(event_id=event["id"]).count()


def test_an_event_is_stored_in_one_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    event = make_event("invoice", "in_1")
    with django_assert_num_queries(1):
        assert post(event).status_code == 200
    row = StripeEvent.objects.get(event_id=event["id"])
    assert (row.type, row.object_kind, row.object_id) == ("invoice.updated", "invoice", "in_1")
    assert row.body == event
    assert int(row.occurred_at.timestamp()) == event["created"]


def test_an_event_that_comes_again_is_stored_once() -> None:
    event = make_event()
    assert [post(event).content for _ in range(3)] == [b"Stored.", b"Known already.", b"Known already."]
    assert stored(event) == 1


@pytest.mark.django_db(transaction=True)
def test_an_event_that_comes_many_times_at_once_is_stored_once() -> None:
    event = make_event()
    answers = at_once(*[lambda: post(event).content] * 8)
    assert sorted(answers) == [*[b"Known already."] * 7, b"Stored."]


def test_both_secrets_are_good_while_one_replaces_the_other() -> None:
    first, second = make_event(), make_event()
    assert post(first, secret="whsec_old").status_code == 200
    assert post(second).status_code == 200
    assert stored(first) == stored(second) == 1


@pytest.mark.parametrize(
    ("secret", "late"), [("whsec_wrong", 0), (SECRET, 301)], ids=["wrong secret", "older than five minutes"]
)
def test_a_forged_or_replayed_event_leaves_nothing(
    secret: str, late: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    event = make_event()
    with django_assert_num_queries(0):
        answer = post(event, secret=secret, at=time.time() - late)
    assert answer.status_code == 400
    assert b"signature" in answer.content
    assert stored(event) == 0


@pytest.mark.parametrize("header", [{}, {"Stripe-Signature": "t=1,v1=x"}, {"Stripe-Signature": "ü"}])
def test_an_event_without_a_signature_is_refused(header: dict[str, str]) -> None:
    answer = Client().post(PATH, json.dumps(make_event()), content_type="application/json", headers=header)
    assert answer.status_code == 400


def test_an_event_of_a_megabyte_is_refused_unread(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    event = make_event(padding="x" * LARGEST_BODY)
    with django_assert_num_queries(0):
        assert post(event).status_code == 413
    assert stored(event) == 0


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"livemode": True}, b"mode"),
        ({"account": "acct_other"}, b"account"),
        ({"api_version": "2020-08-27"}, b"version"),
        ({"api_version": None}, b"version"),
        ({"id": None}, b"event"),
        ({"id": "x" * 300}, b"event"),
        ({"created": "yesterday"}, b"event"),
        ({"created": 10**20}, b"event"),
        ({"data": {}}, b"event"),
        ({"data": {"object": []}}, b"event"),
    ],
)
def test_what_is_signed_but_not_for_us_is_refused_with_a_reason(changes: dict[str, Any], word: bytes) -> None:
    before = StripeEvent.objects.count()
    answer = post(make_event() | changes)
    assert answer.status_code == 400
    assert word in answer.content
    assert StripeEvent.objects.count() == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"\xff", b'{"id": "\\ud800"}'])
def test_what_is_signed_but_no_event_is_refused(body: bytes) -> None:
    assert post(body).status_code == 400


def test_an_event_of_the_named_account_is_ours(settings: Any) -> None:
    settings.STRIPE_ACCOUNT_ID = "acct_us"
    event = make_event(account="acct_us")
    assert post(event).status_code == 200
    assert stored(event) == 1


def test_a_nul_in_a_name_does_not_make_stripe_send_for_three_days() -> None:
    event = make_event(data={"object": {"object": "customer", "id": "cus_1", "name": "A\x00B"}})
    assert post(event).status_code == 200
    assert StripeEvent.objects.get(event_id=event["id"]).body["data"]["object"]["name"] == "A\ufffdB"


def test_nobody_looks_at_the_inbox_by_its_address() -> None:
    assert Client().get(PATH).status_code == 405


def test_a_signature_is_over_every_byte() -> None:
    body = json.dumps(make_event()).encode()
    header = signature(body)
    answer = Client().post(PATH, body + b" ", content_type="application/json", headers={"Stripe-Signature": header})
    assert answer.status_code == 400


@pytest.fixture
def customer(tenant: Tenant) -> str:
    """A customer of Stripe's that is the tenant's."""
    named = f"cus_{uuid4().hex}"
    with scope(tenant.organization):
        BillingAccount.objects.create(stripe_customer_id=named)
    return named


@pytest.mark.parametrize("kind", ["customer", "invoice"])
def test_whoever_a_forged_event_is_about_hears_of_it(kind: str, tenant: Tenant, customer: str) -> None:
    thing = {"object": kind, "id": customer} if kind == "customer" else {"object": kind, "customer": customer}
    for _ in range(attempts.FIRST + 2):
        assert post(make_event(data={"object": thing}), secret="whsec_guessed").status_code == 400
    with scope(tenant.organization):
        events = audited(actions.BAD_SIGNATURE.name)
    assert [event.metadata for event in events] == [{"where": "stripe"}] * attempts.FIRST
    assert events[0].actor["kind"] == "unknown"


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"[]",
        b'{"data": 1}',
        b'{"data": {"object": []}}',
        b'{"data": {"object": {"customer": 1}}}',
        b'{"data": {"object": {"customer": "cus_\\u0000"}}}',
        b'{"data": {"object": {"customer": "cus_of_nobody"}}}',
    ],
)
def test_a_forged_event_about_nobody_is_refused_and_that_is_all(body: bytes) -> None:
    assert post(body, secret="whsec_guessed").status_code == 400
