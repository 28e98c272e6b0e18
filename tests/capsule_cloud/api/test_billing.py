"""Money over the API: what stands, what a change costs, caps, and who may ask."""

from typing import Any

import pytest

from billing.models import Subscription
from billing.plans import Allowance, current, sold
from billing.selectors.subscriptions import live
from tenancy.models import ApiKey
from tenancy.roles import KeyScope
from tenancy.scope import scope
from tests.billing.services.conftest import Buy, buy, shop
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.web.billing_things import make_billing_things

__all__ = ["buy", "shop"]


@pytest.fixture
def money(api: Api) -> Api:
    """A key that may read and change what is billed, and count something."""
    scopes = [KeyScope.BILLING_READ, KeyScope.BILLING_WRITE, KeyScope.MEMORY_WRITE]
    with scope(api.tenant.organization):
        ApiKey.objects.filter(pk=api.tenant.key.pk).update(scopes=scopes)
    return api


def subscription(api: Api) -> Subscription:
    with scope(api.tenant.organization):
        found = live()
    assert found is not None
    return found


def test_the_free_plan_says_what_was_used_of_what_is_included(money: Api) -> None:
    money.post("/api/v1/sessions/s/ingest", {"user_message": "x", "assistant_response": "y"})
    answer = money.get("/v1/billing").json()
    assert (answer["plan"], answer["basis"], answer["status"], answer["access"]) == ("free", "free", None, "full")
    [operations] = [one for one in answer["allowances"] if one["allowance"] == "operations"]
    assert operations == {
        "allowance": "operations",
        "used": 1,
        "included": current("free").allowances[Allowance.OPERATIONS].quantity,
        "overage": None,
        "cost": 0,
    }
    assert answer["forecast"]["used"] == 1
    assert answer["is_sandbox"]
    assert answer["as_of"]


def test_the_plans_are_the_catalogue_s(money: Api) -> None:
    plans = money.get("/v1/billing/plans").json()
    assert [(one["key"], one["monthly"], one["seat"]) for one in plans] == [
        (one.key, one.monthly, one.seat) for one in sold()
    ]
    assert plans[1]["included"]["operations"] == {"quantity": 250_000, "overage": "0.012"}


def test_a_first_plan_is_bought_on_a_page(money: Api, shop: None) -> None:
    answer = money.post("/v1/billing/checkout", {"plan": "pro", "interval": "yearly", "seats": 12})
    assert answer.status_code == 201
    assert "/checkout/" in answer.json()["url"]


def test_a_change_is_made_by_the_token_of_its_preview_and_once(money: Api, buy: Buy) -> None:
    buy(money.tenant, "pro")
    preview = money.post("/v1/billing/preview", {"plan": "scale"}).json()
    assert preview["due_now"] == sum(line["amount"] for line in preview["lines"]) > 0
    for _ in range(2):
        assert money.post("/v1/billing/change", {"token": preview["token"]}).status_code == 204
    assert subscription(money).plan_key == "scale"
    assert money.get("/v1/billing").json()["plan"] == "scale"


def test_of_two_previews_the_second_is_told_that_the_first_was_made(money: Api, buy: Buy) -> None:
    buy(money.tenant, "pro")
    first, second = (money.post("/v1/billing/preview", {"plan": plan}).json() for plan in ("scale", "enterprise"))
    assert money.post("/v1/billing/change", {"token": first["token"]}).status_code == 204
    late = money.post("/v1/billing/change", {"token": second["token"]})
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    assert subscription(money).plan_key == "scale"


def test_a_repeated_checkout_with_one_idempotency_key_gets_the_same_page(money: Api, shop: None) -> None:
    answers = [money.post("/v1/billing/checkout", {"plan": "pro"}, Idempotency_Key="buy") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert "Idempotent-Replayed" not in answers[0].headers
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    other = money.post("/v1/billing/checkout", {"plan": "scale"}, Idempotency_Key="buy")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_a_refused_change_frees_its_idempotency_key(money: Api, buy: Buy) -> None:
    assert money.post("/v1/billing/cancel", Idempotency_Key="end").status_code == 409
    buy(money.tenant, "pro")
    for _ in range(2):
        assert money.post("/v1/billing/cancel", Idempotency_Key="end").status_code == 204
    assert subscription(money).cancel_at is not None
    assert money.post("/v1/billing/resume").status_code == 204
    assert subscription(money).cancel_at is None


def test_a_smaller_plan_waits_for_the_period_s_end_and_can_be_taken_back(money: Api, buy: Buy) -> None:
    buy(money.tenant, "scale")
    assert money.post("/v1/billing/downgrade", {"plan": "pro"}).status_code == 204
    assert money.get("/v1/billing").json()["scheduled_plan"] == "pro"
    assert money.delete("/v1/billing/downgrade").status_code == 204
    assert money.get("/v1/billing").json()["scheduled_plan"] is None


def test_a_cap_is_set_changed_and_cleared(money: Api) -> None:
    cap = money.post("/v1/billing/caps", {"allowance": "operations", "amount": 100}).json()
    assert (cap["level"], cap["subject_id"]) == ("organization", str(money.tenant.organization.pk))
    again = money.post("/v1/billing/caps", {"allowance": "operations", "amount": 90, "reaction": "warn"}).json()
    assert (again["id"], again["amount"], again["reaction"]) == (cap["id"], 90, "warn")
    assert [one["id"] for one in money.get("/v1/billing/caps").json()] == [cap["id"]]
    assert money.delete(f"/v1/billing/caps/{cap['id']}").status_code == 204
    assert money.get("/v1/billing/caps").json() == []


@pytest.mark.parametrize(
    "body",
    [
        {"allowance": "operations", "amount": -1},
        {"allowance": "operations", "amount": 2**60},
        {"allowance": "operations", "amount": 25_001},
        {"allowance": "nonsense", "amount": 1},
        {"allowance": "operations", "amount": 1, "level": "project"},
        {"allowance": "operations", "amount": 1, "subject_id": "01a20eac-6b9c-7749-a525-f0e344629440"},
        {"allowance": "operations", "amount": 1, "reaction": "explode"},
    ],
)
def test_a_cap_that_cannot_be_is_refused(money: Api, body: Any) -> None:
    answer = money.post("/v1/billing/caps", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert money.get("/v1/billing/caps").json() == []


def test_an_invoice_has_its_lines_and_a_line_explains_itself(money: Api) -> None:
    things = make_billing_things(money.tenant)
    [listed] = money.get("/v1/billing/invoices").json()["data"]
    assert listed["id"] == things["invoice_id"]
    [line] = money.get(f"/v1/billing/invoices/{listed['id']}").json()["lines"]
    assert (line["id"], line["amount"]) == (things["line_id"], 29_00)
    assert money.get(f"/v1/billing/lines/{line['id']}").json()["line"]["description"] == "Pro plan"
