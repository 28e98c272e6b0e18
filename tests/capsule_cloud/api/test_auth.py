"""What a key may do when the bill is not paid, or the plan does not have it."""

from typing import Any

import pytest

from tenancy import access
from tenancy.models import Organization
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api

TURN = {"user_message": "I like tea.", "assistant_response": "Noted.", "user_id": "ada"}
FULL, READ_ONLY, SUSPENDED = Organization.Access.FULL, Organization.Access.READ_ONLY, Organization.Access.SUSPENDED


def set_columns(api: Api, **columns: Any) -> None:
    """Change the organization as billing does, and let this process see it at once."""
    with scope(api.tenant.organization):
        Organization.objects.update(**columns)
    access.reset_key_cache()


def sealed_capsule(api: Api) -> str:
    """A capsule of Ada's."""
    assert api.post("/api/v1/sessions/talk/ingest", TURN).status_code == 200
    capsule_id: str = api.post("/api/v1/sessions/talk/seal").json()["capsule_id"]
    return capsule_id


@pytest.mark.parametrize(
    ("method", "path", "body", "left_by"),
    [
        ("GET", "/api/v1/recall?query=tea&user_id=ada", None, {FULL, READ_ONLY}),
        ("GET", "/api/v1/capsules/{capsule}", None, {FULL, READ_ONLY}),
        ("GET", "/api/v1/users", None, {FULL, READ_ONLY}),
        ("POST", "/api/v1/sessions/more/ingest", TURN, {FULL}),
        ("POST", "/api/v1/sessions", {}, {FULL}),
        ("PUT", "/api/v1/capsules/{capsule}/pin", None, {FULL}),
        ("PUT", "/api/v1/capsules/{capsule}/tags", {"tags": ["a"]}, {FULL}),
        ("DELETE", "/api/v1/capsules/{capsule}", None, {FULL, READ_ONLY}),
        ("GET", "/api/v1/capsules", None, {FULL, READ_ONLY, SUSPENDED}),
        ("GET", "/api/v1/capsules/{capsule}/export", None, {FULL, READ_ONLY, SUSPENDED}),
        ("DELETE", "/api/v1/users/ada", None, {FULL, READ_ONLY, SUSPENDED}),
        ("GET", "/v1/organization", None, {FULL, READ_ONLY, SUSPENDED}),
        ("POST", "/v1/keys", {"name": "New", "scopes": ["memory:read"]}, {FULL, READ_ONLY, SUSPENDED}),
    ],
)
@pytest.mark.parametrize("state", Organization.Access)
def test_an_unpaid_bill_closes_writes_and_later_all_but_the_way_out(
    api: Api, state: str, method: str, path: str, body: Any, left_by: set[str]
) -> None:
    capsule = sealed_capsule(api)
    set_columns(api, access=state)
    answer = api(method, path.format(capsule=capsule), body)
    if state in left_by:
        assert answer.status_code in {200, 201}, answer.content
    else:
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (402, "billing_restricted")
        assert "overdue" in answer.json()["detail"]


def test_a_model_is_told_that_the_bill_is_unpaid(api: Api) -> None:
    set_columns(api, access=READ_ONLY)
    call = {"name": "capsule_ingest", "arguments": TURN}
    answer = api.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}).json()["result"]
    assert answer["isError"]
    assert "billing_restricted" in answer["content"][0]["text"]


def test_a_key_without_the_scope_hears_of_the_scope_and_not_of_the_bill(api: Api) -> None:
    set_columns(api, access=SUSPENDED)
    made = api.post("/v1/keys", {"name": "Reader", "scopes": ["org:read"]}).json()
    answer = api.get("/api/v1/recall?query=x", Authorization=f"Bearer {made['secret']}")
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (403, "missing_scope")


def test_a_feature_that_the_plan_lacks_is_named(api: Api) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert api.post("/mcp", ping).status_code == 200
    set_columns(api, features=[])
    answer = api.post("/mcp", ping)
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (403, "feature_not_in_plan")
    assert "MCP endpoint" in answer.json()["error"]["message"]


def test_a_paid_bill_opens_everything_within_a_second(api: Api) -> None:
    set_columns(api, access=SUSPENDED)
    assert api.post("/api/v1/sessions", {}).status_code == 402
    set_columns(api, access=FULL)
    assert api.post("/api/v1/sessions", {}).status_code == 200
