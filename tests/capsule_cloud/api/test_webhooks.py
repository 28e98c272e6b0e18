"""Webhook endpoints over the API: a secret once, a log with what was answered, and nothing of anybody else's."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tenancy.webhooks import delivery
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant
from tests.targets import Target, says
from tests.tenancy.webhooks.conftest import _hang_up, happen, target

__all__ = ["_hang_up", "target"]
URL = "https://hooks.example.com/in"


def create(api: Api, **values: Any) -> Any:
    answer = api.post("/v1/webhooks/endpoints", {"url": URL} | values)
    assert answer.status_code == 201, answer.content
    return answer.json()


def test_an_endpoint_is_made_with_a_secret_that_is_shown_once(api: Api) -> None:
    made = create(api, event_types=["billing.*"], description="CRM")
    assert made["secret"].startswith("whsec_")
    assert made["public_key"].startswith("whpk_")
    again = api.get(f"/v1/webhooks/endpoints/{made['id']}").json()
    assert again == {name: value for name, value in made.items() if name != "secret"}
    assert (again["state"], again["waiting"], again["success_rate"]) == ("active", 0, None)
    [listed] = api.get("/v1/webhooks/endpoints").json()["data"]
    assert listed == again


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"url": "http://hooks.example.com"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"event_types": ["everything"]}, "event_types"),
        ({"project_ids": ["0198f0a1-5c1e-7d3a-9b1f-3f2c6a7d8e90"]}, "project_ids"),
        ({"is_ordered": "perhaps"}, "is_ordered"),
    ],
)
def test_a_wrong_value_is_named(api: Api, values: dict[str, Any], field: str) -> None:
    answer = api.post("/v1/webhooks/endpoints", {"url": URL} | values)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_an_endpoint_is_changed_disabled_enabled_and_deleted(api: Api) -> None:
    path = f"/v1/webhooks/endpoints/{create(api)['id']}"
    changed = api.patch(path, {"event_types": ["memory.session.sealed"], "is_ordered": True}).json()
    assert (changed["event_types"], changed["is_ordered"]) == (["memory.session.sealed"], True)
    assert api.patch(path, {"is_enabled": False}).json()["state"] == "disabled"
    assert api.post(f"{path}/replay", {"since": timezone.now().isoformat()}).status_code == 409
    assert api.patch(path, {"is_enabled": True}).json()["state"] == "active"
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert api.get("/v1/webhooks/endpoints").json()["data"] == []


def test_a_rotation_shows_the_new_secret_and_until_when_the_old_one_signs(api: Api) -> None:
    made = create(api)
    rotated = api.post(f"/v1/webhooks/endpoints/{made['id']}/rotate", {"overlap_seconds": 60})
    assert rotated.status_code == 201
    assert rotated.json()["secret"] != made["secret"]
    assert rotated.json()["previous_until"] is not None
    assert api.post(f"/v1/webhooks/endpoints/{made['id']}/rotate").status_code == 409
    assert api.post(f"/v1/webhooks/endpoints/{made['id']}/rotate", {"overlap_seconds": 0}).status_code == 201


def test_the_log_says_what_was_sent_and_answered(api: Api, tenant: Tenant, target: Target) -> None:
    made = create(api, url=target.url)
    target.behaviour = says(500, b"no")
    happen(tenant)
    delivery.deliver()
    log = f"/v1/webhooks/endpoints/{made['id']}/deliveries"
    [row] = api.get(log).json()["data"]
    assert (row["type"], row["state"], row["last_status"]) == ("memory.session.sealed", "pending", 500)
    detail = api.get(f"/v1/webhooks/deliveries/{row['id']}").json()
    assert detail["body"]["id"] == detail["event_id"] == target.received[0].headers["webhook-id"]
    [attempt] = detail["log"]
    assert (attempt["status"], attempt["response"]["body"]) == (500, "no")
    assert attempt["request"]["headers"]["webhook-signature"] == "v1,… v1a,…"
    assert api.get(f"{log}?state=delivered").json()["data"] == []
    assert len(api.get(f"{log}?type=memory.session.sealed&state=pending").json()["data"]) == 1
    assert api.get(f"{log}?state=lost").status_code == 422
    health = api.get(f"/v1/webhooks/endpoints/{made['id']}").json()
    assert (health["waiting"], health["success_rate"]) == (1, 0.0)
    assert health["oldest_at"] is not None


def test_the_log_comes_in_pages(api: Api, tenant: Tenant) -> None:
    made = create(api)
    happen(tenant, 5)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get(f"/v1/webhooks/endpoints/{made['id']}/deliveries?limit=2&cursor={cursor}").json()
        seen += [row["id"] for row in page["data"]]
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen)) == 5


def test_a_test_a_resend_and_a_replay_are_sent(api: Api, tenant: Tenant, target: Target) -> None:
    made = create(api, url=target.url)
    path = f"/v1/webhooks/endpoints/{made['id']}"
    sent = api.post(f"{path}/test")
    assert sent.status_code == 202
    delivery.deliver()
    tested = api.get(f"/v1/webhooks/deliveries/{sent.json()['id']}").json()
    assert (tested["state"], tested["reason"], tested["type"]) == ("delivered", "test", "webhooks.test")
    happen(tenant)
    delivery.deliver()
    [one] = api.get(f"{path}/deliveries?type=memory.session.sealed").json()["data"]
    assert api.post(f"/v1/webhooks/deliveries/{one['id']}/resend").json()["reason"] == "resend"
    since = (timezone.now() - timedelta(hours=1)).isoformat()
    assert api.post(f"{path}/replay", {"since": since}).json() == {"deliveries": 0}  # it waits already
    delivery.deliver()
    assert api.post(f"{path}/replay", {"since": since}).json() == {"deliveries": 1}
    delivery.deliver()
    ids = [got.headers["webhook-id"] for got in target.received[1:]]
    assert ids == [one["event_id"]] * 3


def test_the_catalogue_is_there_for_programs(api: Api) -> None:
    types = api.get("/v1/webhooks/event-types").json()
    assert {"billing.cap.reached", "memory.session.sealed"} <= {one["name"] for one in types}
    assert all(set(one["schema"]["required"]) == set(one["example"]) for one in types)


def test_a_repeated_request_makes_one_endpoint_and_shows_its_secret_again(api: Api) -> None:
    first = api.post("/v1/webhooks/endpoints", {"url": URL}, Idempotency_Key="once")
    second = api.post("/v1/webhooks/endpoints", {"url": URL}, Idempotency_Key="once")
    assert first.json() == second.json()
    assert len(api.get("/v1/webhooks/endpoints").json()["data"]) == 1
