"""Answers say what was counted; at a cap writes are refused in the caller's protocol, and reads go on."""

from typing import Any

import orjson
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from billing.metering.models import UsageEvent
from billing.quotas import services
from tenancy.access import reset_key_cache
from tenancy.models import Organization
from tenancy.scope import scope
from tests.factories import Tenant

RECEIPT = ("X-Usage-Event", "X-Usage-Meter", "X-Usage-Quantity", "X-Quota-Remaining")
PAIR = {"user_message": "I like tea.", "assistant_response": "Noted."}


@pytest.fixture
def http(tenant: Tenant) -> Client:
    """A client with the tenant's key."""
    return Client(headers=tenant.headers, raise_request_exception=False)


def limit(tenant: Tenant, operations: int | None) -> None:
    """Give the plan so many operations."""
    with scope(tenant.organization):
        Organization.objects.update(operation_limit=operations)
    reset_key_cache()


def ingest(http: Client, session: str = "s1", **body: Any) -> Any:
    """Send a turn, or several."""
    return http.post(f"/api/v1/sessions/{session}/ingest", body or PAIR, content_type="application/json")


def tool(http: Client, name: str, **arguments: Any) -> Any:
    """Call an MCP tool."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    return http.post("/mcp", message, content_type="application/json")


def receipt(answer: Any) -> list[str | None]:
    """The receipt's meter, quantity and rest."""
    return [answer.headers.get(name) for name in RECEIPT[1:]]


def test_an_answer_is_the_receipt_of_what_was_counted(tenant: Tenant, http: Client) -> None:
    limit(tenant, 100)
    answer = ingest(http, turns=[PAIR] * 3)
    assert receipt(answer) == ["ingest", "3", "97"]
    with scope(tenant.organization):
        event = UsageEvent.objects.get()
    assert (str(event.pk), event.quantity) == (answer.headers["X-Usage-Event"], 3)
    assert receipt(http.get("/api/v1/recall", {"query": "tea"})) == ["recall", "1", "96"]
    assert receipt(http.get("/api/v1/capsules")) == ["read", "1", None]
    assert receipt(http.post("/api/v1/sessions")) == ["write", "1", None]
    assert receipt(http.post("/api/v1/sessions/s1/seal", {}, content_type="application/json")) == ["seal", "1", "95"]


def test_without_a_limit_nothing_remains_to_be_told(tenant: Tenant, http: Client) -> None:
    limit(tenant, None)
    assert receipt(ingest(http)) == ["ingest", "1", None]


def test_a_refused_call_has_no_receipt_and_takes_nothing(tenant: Tenant, http: Client) -> None:
    limit(tenant, 10)
    ingest(http)
    assert http.post("/api/v1/sessions/s1/seal", {}, content_type="application/json").status_code == 200
    refused = ingest(http)
    assert refused.status_code == 409
    assert receipt(refused) == [None, None, None]


def test_a_replayed_answer_counts_nothing(tenant: Tenant, http: Client) -> None:
    limit(tenant, 1)
    headers = {"Idempotency-Key": "once"}
    path = "/api/v1/sessions/s1/ingest"
    first = http.post(path, PAIR, content_type="application/json", headers=headers)
    assert receipt(first) == ["ingest", "1", "0"]
    again = http.post(path, PAIR, content_type="application/json", headers=headers)
    assert (again.status_code, again.content) == (200, first.content)
    assert receipt(again) == [None, None, None]


def test_at_a_cap_writes_are_refused_and_reads_go_on(tenant: Tenant, http: Client) -> None:
    limit(tenant, 1)
    ingest(http)
    for refused in (
        ingest(http),
        http.post("/api/v1/sessions/s1/seal", {}, content_type="application/json"),
        http.post("/api/v1/capsules/import", {"file": SimpleUploadedFile("tea.txt", b"tea")}),
    ):
        assert (refused.status_code, refused.headers["X-Error-Code"]) == (402, "quota_reached")
        assert list(refused.json()) == ["detail"], "the engine's shape"
        assert "has used its 1 operations of this billing period" in refused.json()["detail"]
        assert "/billing/plan" in refused.json()["detail"]
    recalled = http.get("/api/v1/recall", {"query": "tea"})
    assert (recalled.status_code, *receipt(recalled)) == (200, "recall", "1", "0")
    assert http.get("/api/v1/sessions/s1/snapshot").json()["turn_count"] == 2, "nothing was written"
    assert http.delete("/api/v1/users/default").status_code in {200, 404}


def test_at_a_cap_a_tool_says_so(tenant: Tenant, http: Client) -> None:
    limit(tenant, 1)
    assert receipt(tool(http, "capsule_ingest", **PAIR)) == ["ingest", "1", "0"]
    answer = tool(http, "capsule_ingest", **PAIR)
    result = answer.json()["result"]
    said = orjson.loads(result["content"][0]["text"])
    assert (answer.status_code, result["isError"], said["code"]) == (200, True, "quota_reached")
    assert "/billing/plan" in said["error"]
    assert receipt(answer) == [None, None, None]
    assert tool(http, "capsule_recall", query="tea").json()["result"]["isError"] is False


def test_a_batch_has_a_receipt_for_each_message(tenant: Tenant, http: Client) -> None:
    limit(tenant, 100)
    calls = [
        {"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate([("capsule_recall", {"query": "tea"}), ("capsule_list", {})])
    ]
    answer = http.post("/mcp", calls, content_type="application/json")
    assert receipt(answer) == ["recall, read", "1, 1", "99"]
    assert len(set(answer.headers["X-Usage-Event"].split(", "))) == 2


def test_a_key_stops_at_its_own_cap(tenant: Tenant, http: Client) -> None:
    with scope(tenant.organization):
        services.set_cap(
            actor=tenant.actor,
            allowance="operations",
            level="key",
            subject_id=tenant.key.pk,
            amount=1,
            reaction="stop",
            span="day",
        )
    reset_key_cache()
    assert receipt(ingest(http)) == ["ingest", "1", "0"]
    refused = ingest(http)
    assert refused.status_code == 402
    assert "The API key has used its 1 operations of this day" in refused.json()["detail"]


def test_a_throttled_write_counts_as_many_requests(tenant: Tenant, http: Client) -> None:
    with scope(tenant.organization):
        services.set_cap(
            actor=tenant.actor,
            allowance="operations",
            level="organization",
            subject_id=tenant.organization.pk,
            amount=1,
            reaction="throttle",
        )
        Organization.objects.update(requests_per_minute=45)
    reset_key_cache()
    answers = [ingest(http) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["X-Error-Code"] == "rate_limited"
    assert http.get("/api/v1/recall", {"query": "tea"}).status_code == 200
