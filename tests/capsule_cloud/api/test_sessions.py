"""The engine's session routes, and several turns at once."""

from typing import Any

import pytest

from capsule_cloud.memory.models import Turn
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, make_tenant

TURN = {"user_message": "I like green tea", "assistant_response": "Noted: green tea"}
NOTICED = {"user_message": "Perfect, remember this", "assistant_response": "Use uv for the lock file"}


def ingest(api: Api, session: str, body: Any = TURN) -> Any:
    return api.post(f"/api/v1/sessions/{session}/ingest", body)


def test_a_session_is_opened_with_and_without_an_id(api: Api) -> None:
    named = api("POST", "/api/v1/sessions?user_id=ada&session_id=chat-1")
    assert named.json() == {"session_id": "chat-1", "user_id": "ada"}
    again = api("POST", "/api/v1/sessions?user_id=ada&session_id=chat-1")
    assert again.json() == named.json()
    assert api("POST", "/api/v1/sessions").json()["session_id"].startswith("sess_")
    assert api("POST", "/api/v1/sessions").json()["user_id"] == "default"


@pytest.mark.parametrize("user", ["ada@example.com", "auth0|5f7c8ec7", "山田", "a/b", "..", "x" * 255])
def test_an_end_user_is_free_text(api: Api, user: str) -> None:
    answer = api("POST", f"/api/v1/sessions?user_id={user.replace('|', '%7C')}")
    assert answer.json()["user_id"] == user


def test_turns_are_numbered_and_the_first_brings_what_is_remembered(api: Api) -> None:
    ingest(api, "old", TURN | {"user_id": "ada"})
    api.post("/api/v1/sessions/old/seal", {"facts": [{"key": "drink", "value": "green tea"}], "summary": "Tea."})
    first = ingest(api, "new", {"user_message": "green tea?", "assistant_response": "Yes", "user_id": "ada"}).json()
    assert (first["turn_id"], first["total_turns"], first["recalled_facts_count"]) == (1, 2, 1)
    assert "green tea" in first["recalled_context"]
    second = ingest(api, "new").json()
    assert second == {"turn_id": 3, "session_id": "new", "total_turns": 4, "pending_triggers": 0}


def test_several_turns_are_taken_together_or_not_at_all(api: Api) -> None:
    answer = ingest(api, "batch", {"turns": [TURN, TURN, TURN], "user_id": "ada"})
    assert (answer.json()["turn_id"], answer.json()["total_turns"]) == (1, 6)
    answer = ingest(api, "batch", {"turns": [TURN, {"user_message": "x"}]})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "turns", 1, "assistant_response"]
    assert api.get("/api/v1/sessions/batch/snapshot").json()["turn_count"] == 6


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"user_message": "x"}, 400),
        ({"user_message": "", "assistant_response": "y"}, 400),
        ({"user_message": None, "assistant_response": "y"}, 400),
        ({"user_message": 7, "assistant_response": "y"}, 422),
        ({"user_message": ["x"], "assistant_response": {}}, 422),
        (TURN | {"user_id": 7}, 422),
        (TURN | {"user_id": ""}, 422),
        (TURN | {"user_id": "x" * 256}, 422),
        (TURN | {"user_id": "a\x00b"}, 422),
        ({"user_message": "a\x00b", "assistant_response": "y"}, 422),
        ({"user_message": "x" * (256 * 1024 + 1), "assistant_response": "y"}, 413),
        ({"user_message": "é" * (128 * 1024 + 1), "assistant_response": "y"}, 413),
        ({"turns": []}, 422),
        ({"turns": [TURN] * 251}, 422),
        ({"turns": "x"}, 422),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_turn_that_is_none_is_refused_and_nothing_is_kept(api: Api, body: Any, status: int) -> None:
    answer = ingest(api, "s", body)
    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True)
    with scope(api.tenant.organization):
        assert not Turn.objects.exists()
        assert not AuditEvent.objects.filter(action__startswith="memory.").exists()


def test_an_empty_turn_is_refused_in_the_engines_words(api: Api) -> None:
    assert ingest(api, "s", {}).json() == {"detail": "user_message and assistant_response are required"}


def test_a_session_is_not_taken_over_by_another_user(api: Api) -> None:
    ingest(api, "s", TURN | {"user_id": "alice"})
    assert api("POST", "/api/v1/sessions?user_id=bob&session_id=s").status_code == 409
    assert ingest(api, "s", TURN | {"user_id": "bob"}).status_code == 409
    assert api.get("/api/v1/sessions/s/snapshot").json()["user_id"] == "alice"


def test_whoever_names_an_end_user_reaches_only_their_sessions(api: Api) -> None:
    ingest(api, "s", TURN | {"user_id": "alice"})
    for path in ("snapshot", "triggers"):
        assert api.get(f"/api/v1/sessions/s/{path}?user_id=alice").status_code == 200
        assert api.get(f"/api/v1/sessions/s/{path}?user_id=mallory").status_code == 404
    assert api.post("/api/v1/sessions/s/seal", {"user_id": "mallory"}).status_code == 404
    assert api.post("/api/v1/sessions/s/seal", {"user_id": "alice"}).status_code == 200


def test_a_snapshot_counts_turns_and_triggers(api: Api) -> None:
    ingest(api, "s", NOTICED | {"user_id": "ada"})
    snapshot = api.get("/api/v1/sessions/s/snapshot").json()
    assert snapshot.pop("started_at")
    assert snapshot == {
        "session_id": "s",
        "user_id": "ada",
        "turn_count": 2,
        "is_active": True,
        "pending_triggers": 1,
        "confirmed_skills": 0,
    }


def test_a_noticed_skill_is_listed_confirmed_and_in_the_capsule(api: Api) -> None:
    ingest(api, "s", NOTICED | {"user_id": "ada"})
    listed = api.get("/api/v1/sessions/s/triggers").json()
    assert listed["count"] == 1
    [trigger] = listed["triggers"]
    [waiting] = api.get("/api/v1/capsules/pending-triggers?user_id=ada").json()["triggers"]
    assert (waiting["event_id"], waiting["session_id"]) == (trigger["event_id"], "s")
    assert api.get("/api/v1/capsules/pending-triggers?user_id=mallory").json() == {"triggers": [], "count": 0}
    path = f"/api/v1/sessions/s/triggers/{trigger['event_id']}/confirm"
    refused = api.post(path, {"resolution": "maybe"})
    assert (refused.status_code, refused.json()["detail"]) == (
        400,
        "Invalid resolution: maybe. Must be one of: extract_skill, merge_memory, extract_hybrid, ignore, never",
    )
    assert api.post(path, {"resolution": "extract_skill"}).json() == {
        "resolved": True,
        "event_id": trigger["event_id"],
    }
    assert api.get("/api/v1/sessions/s/triggers").json()["count"] == 0
    api.post("/api/v1/sessions/s/seal")
    [skill] = api.get("/api/v1/recall?query=lock+file&user_id=ada").json()["skills"]
    assert skill["name"] == skill["skill_name"]


def test_a_seal_says_how_facts_were_found(api: Api) -> None:
    ingest(api, "rules")
    by_rules = api.post("/api/v1/sessions/rules/seal", {"title": "T", "tags": ["a"]}).json()
    assert (by_rules["title"], by_rules["turn_count"], by_rules["extraction"]) == ("T", 2, "rule_based")
    assert by_rules["hint"].startswith("Tip: pass 'facts' and 'summary'")
    ingest(api, "host")
    by_host = api.post("/api/v1/sessions/host/seal", {"facts": [{"value": "tea"}], "summary": None}).json()
    assert by_host["extraction"] == "host_llm"
    assert "hint" not in by_host
    capsule = api.get(f"/api/v1/capsules/{by_host['capsule_id']}").json()
    [fact] = capsule["payload"]["memory"]["facts"]
    assert (fact["key"], fact["value"], fact["confidence"], fact["category"]) == ("fact.0", "tea", 0.9, "other")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"title": 7}, 422),
        ({"title": "x" * 2001}, 413),
        ({"tags": "a,b"}, 422),
        ({"tags": [""]}, 422),
        ({"tags": ["x"] * 51}, 422),
        ({"facts": [7]}, 422),
        ({"facts": [{"value": "x", "confidence": 2}]}, 422),
        ({"facts": [{"value": "x", "confidence": "high"}]}, 422),
        ({"facts": [{"value": "x", "category": "nonsense"}]}, 400),
        ({"facts": [{"value": "a\x00b"}]}, 422),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_seal_changes_nothing(api: Api, body: Any, status: int) -> None:
    ingest(api, "s")
    assert api.post("/api/v1/sessions/s/seal", body).status_code == status
    assert api.get("/api/v1/sessions/s/snapshot").json()["is_active"] is True


def test_a_sealed_session_takes_no_more_turns_and_seals_to_the_same_capsule(api: Api) -> None:
    ingest(api, "s")
    capsule = api.post("/api/v1/sessions/s/seal").json()["capsule_id"]
    assert ingest(api, "s").status_code == 409
    assert api.post("/api/v1/sessions/s/seal").json()["capsule_id"] == capsule


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "snapshot", None),
        ("POST", "seal", {}),
        ("GET", "triggers", None),
        ("POST", "triggers/evt_1/confirm", {"resolution": "ignore"}),
    ],
)
@pytest.mark.parametrize("session", ["nothing", "..%2F..%2Fetc", "%00", "x" * 300])
def test_an_unknown_session_is_not_found(api: Api, method: str, path: str, body: Any, session: str) -> None:
    assert api(method, f"/api/v1/sessions/{session}/{path}", body).status_code == 404


def test_another_projects_session_does_not_exist(api: Api, stranger: Tenant) -> None:
    ingest(api, "s", NOTICED)
    other = Api(stranger)
    assert other.get("/api/v1/sessions/s/snapshot").status_code == 404
    assert other.post("/api/v1/sessions/s/seal").status_code == 404
    assert other.get("/api/v1/capsules/pending-triggers").json()["count"] == 0
    assert ingest(other, "s").json()["turn_id"] == 1  # a session of its own


@pytest.mark.parametrize(
    ("scopes", "allowed"), [(["memory:read"], {"GET"}), (["memory:write"], {"POST"}), (["memory:delete"], set())]
)
def test_each_scope_opens_its_own_routes(db: None, scopes: list[str], allowed: set[str]) -> None:
    api = Api(make_tenant(scopes))
    answers = {"GET": api.get("/api/v1/capsules"), "POST": ingest(api, "s")}
    assert {method for method, answer in answers.items() if answer.status_code == 200} == allowed
