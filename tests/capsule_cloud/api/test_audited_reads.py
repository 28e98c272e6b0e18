"""A project that wants its reads recorded gets an event for each: who, which capsules, never the question itself."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from capsule_cloud.api.mcp_tools import TOOLS
from capsule_cloud.memory.services import reads
from tenancy import access
from tenancy.audit import actions
from tenancy.models import Project
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.api.test_capsules import remember
from tests.factories import Tenant, make_tenant
from tests.trail import audited


def switch(tenant: Tenant, is_on: bool) -> None:
    """Let the project's reads be recorded."""
    with scope(tenant.organization):
        Project.objects.update(audit_reads=is_on)
    access.reset_key_cache()


def told(tenant: Tenant) -> list[dict[str, Any]]:
    """What the trail says of reads."""
    with scope(tenant.organization):
        return [event.metadata for event in audited(actions.MEMORY_READ.name)]


def ask_tool(api: Api, name: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answers."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    answer = api.post("/mcp", body, Accept="application/json, text/event-stream")
    result: dict[str, Any] = answer.json()["result"]
    assert not result.get("isError"), result
    return result


def test_off_by_default_nothing_is_recorded(api: Api) -> None:
    capsule = remember(api)
    assert api.get("/api/v1/recall?query=tea&user_id=ada").json()["sources"] == [capsule]
    assert api.get(f"/api/v1/capsules/{capsule}").status_code == 200
    assert told(api.tenant) == []


def test_every_way_to_read_is_recorded_with_what_was_given_out(api: Api) -> None:
    one, two = remember(api), remember(api, fact="runs at dawn")
    switch(api.tenant, is_on=True)
    hashed = reads.hash_of(api.tenant.organization.pk, "green tea")
    recalled = api.get("/api/v1/recall?query=green tea&user_id=ada&top_k=1").json()["sources"]
    for path in (
        f"capsules/{one}",
        "capsules?user_id=ada",
        f"capsules/{one}/prompt-snippet",
        f"capsules/{one}/diff/{two}",
    ):
        assert api.get(f"/api/v1/{path}").status_code == 200
    api.post("/api/v1/sessions/new/ingest", {"user_message": "Hello", "assistant_response": "Hi", "user_id": "bob"})
    for path in ("sessions/new/snapshot", "sessions/new/triggers", "capsules/pending-triggers?user_id=bob"):
        assert api.get(f"/api/v1/{path}").status_code == 200
    assert told(api.tenant) == [
        {"operation": "recall", "capsules": recalled, "query_hash": hashed, "user_id": "ada"},
        {"operation": "get", "capsules": [one]},
        {"operation": "list", "capsules": [two, one], "user_id": "ada"},
        {"operation": "snippet", "capsules": [one]},
        {"operation": "diff", "capsules": [one, two]},
        {"operation": "session", "capsules": [], "session_id": "new", "user_id": "bob"},
        {"operation": "triggers", "capsules": [], "session_id": "new"},
        {"operation": "triggers", "capsules": [], "user_id": "bob"},
    ]


def test_tools_are_recorded_as_what_they_are_for(api: Api) -> None:
    capsule = remember(api)
    switch(api.tenant, is_on=True)
    ask_tool(api, "capsule_recall", query="tea", user_id="ada")
    ask_tool(api, "capsule_inject_context", query="tea", user_id="ada")
    ask_tool(api, "capsule_list", user_id="ada")
    assert [(one["operation"], one["capsules"]) for one in told(api.tenant)] == [
        ("recall", [capsule]),
        ("inject", [capsule]),
        ("list", [capsule]),
    ]


def test_what_a_first_turn_brings_back_is_a_read(api: Api) -> None:
    capsule = remember(api)
    switch(api.tenant, is_on=True)
    turn = {"user_message": "What about green tea?", "assistant_response": "Yes", "user_id": "ada"}
    assert "recalled_context" in api.post("/api/v1/sessions/next/ingest", turn).json()
    [said] = told(api.tenant)
    assert (said["operation"], said["capsules"], said["user_id"]) == ("recall", [capsule], "ada")


def test_a_read_that_finds_nothing_is_told_and_one_of_nothing_is_not(api: Api) -> None:
    switch(api.tenant, is_on=True)
    assert api.get("/api/v1/recall?query=nonsense").json()["sources"] == []
    assert api.get("/api/v1/capsules/cap_nothing").status_code == 404
    assert [one["capsules"] for one in told(api.tenant)] == [[]]


def test_neither_the_question_nor_the_end_user_stands_in_the_event(api: Api) -> None:
    switch(api.tenant, is_on=True)
    api.get("/api/v1/recall?query=my secret question&user_id=ada@example.com")
    with scope(api.tenant.organization):
        [event] = audited(actions.MEMORY_READ.name)
    assert "secret question" not in event.body
    assert "ada@example.com" not in event.body
    assert event.metadata["user_id"] == "ada@example.com"  # as long as they are not erased
    assert (event.actor["kind"], event.actor["id"]) == ("api_key", str(api.tenant.key.pk))


def test_a_capsule_and_its_event_are_one_trip(api: Api) -> None:
    capsule = remember(api)
    asked = []
    for is_on in (False, True):
        switch(api.tenant, is_on=is_on)
        api.get(f"/api/v1/capsules/{capsule}")  # the key is cached now
        with CaptureQueriesContext(connection) as queries:
            assert api.get(f"/api/v1/capsules/{capsule}").status_code == 200
        asked.append(len(queries))
    assert asked[0] == asked[1]
    assert len(told(api.tenant)) == 2


def test_a_read_that_cannot_be_recorded_is_not_answered(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(api)
    switch(api.tenant, is_on=True)

    def away(*args: Any, **more: Any) -> None:
        raise RuntimeError("the trail is away")

    monkeypatch.setattr(reads, "one_trip", away)
    answer = api.get("/api/v1/recall?query=tea&user_id=ada")
    assert answer.status_code == 500
    assert b"tea" not in answer.content


def test_the_same_question_has_another_hash_in_each_organization(tenant: Tenant, stranger: Tenant) -> None:
    hashes = {reads.hash_of(one.organization.pk, question) for one in (tenant, stranger) for question in ("a", "b")}
    assert len(hashes) == 4
    assert reads.hash_of(tenant.organization.pk, "a") in hashes


def test_the_switch_is_set_by_the_api_and_stands_in_the_trail(api: Api) -> None:
    path = f"/v1/projects/{api.tenant.project.pk}"
    assert api.get(path).json()["audit_reads"] is False
    assert api.patch(path, {"audit_reads": True}).json()["audit_reads"] is True
    with scope(api.tenant.organization):
        [event] = audited(actions.PROJECT_UPDATED.name)
    assert event.changes == {"audit_reads": [False, True]}


@pytest.mark.django_db
def test_people_who_look_at_memories_in_the_console_are_recorded() -> None:
    tenant = make_tenant()
    api, browser = Api(tenant), Client()
    one, two = remember(api), remember(api, fact="runs at dawn")
    browser.force_login(tenant.owner)
    home = f"/o/{tenant.organization.slug}/"
    form = {"name": "Default", "turn_retention_days": "7", "idle_seal_minutes": "15", "audit_reads": "on"}
    assert browser.post(f"{home}projects/default/update/", form).status_code == 302
    for path in (
        f"{home}memory/",
        f"{home}memory/?q=tea",
        f"{home}memory/default/?id={one}",
        f"{home}memory/default/compare/?id={one}&id={two}",
        f"{home}sessions/default/?id=ada-drinks-green-tea",
    ):
        assert browser.get(path).status_code == 200, path
    said = [(event["operation"], sorted(event["capsules"])) for event in told(tenant)]
    assert said == [
        ("list", sorted([one, two])),
        ("search", [one]),
        ("get", [one]),
        ("diff", sorted([one, two])),
        ("session", []),
    ]


def test_no_tool_reads_in_a_way_that_is_not_tried_here() -> None:
    reading = {name for name, tool in TOOLS.items() if tool.right == "memory:read"}
    assert reading == {
        "capsule_recall",
        "capsule_inject_context",
        "capsule_list",
        "capsule_export",  # recorded whatever the project wants
        "capsule_pending_triggers",  # through the route of the same name
    }
