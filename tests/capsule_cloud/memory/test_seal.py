"""Sealing: one capsule for a session, made of all its turns by the engine."""

from typing import Any

import pytest

from capsule_cloud.memory.limits import MAX_EXTRACTION_BYTES, InvalidInput, TooLarge
from capsule_cloud.memory.models import Capsule, SearchEntry, Session
from capsule_cloud.memory.selectors import sessions as selectors
from capsule_cloud.memory.selectors.sessions import SessionNotFound
from capsule_cloud.memory.services import sessions
from capsule_cloud.memory.services.sessions import SealResult, SessionSealed
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.capsule_cloud.memory.conversations import document_of, ingest, pair, seal
from tests.factories import Tenant


def test_a_session_becomes_a_capsule_of_its_user(tenant: Tenant) -> None:
    ingest(tenant, "s", pair("Which database?", "PostgreSQL 18, with Django."), user_id="ada")
    ingest(tenant, "s", pair("And the broker?", "Valkey."))

    sealed = seal(tenant, "s", title="Choices", tags=["stack"])

    assert (sealed.title, sealed.turn_count, sealed.type, sealed.extraction) == ("Choices", 4, "hybrid", "rule_based")
    document = document_of(tenant, sealed.capsule_id)
    assert document["identity"]["user_id"] == "ada"
    assert document["identity"]["session_id"] == "s"
    assert document["metadata"]["tags"] == ["stack"]
    memory = document["payload"]["memory"]
    assert [fact["value"] for fact in memory["facts"]] == [
        "Q: Which database? A: PostgreSQL 18, with Django.",
        "Q: And the broker? A: Valkey.",
    ]
    assert set(memory["entities"]["technologies"]) == {"PostgreSQL", "Django"}
    assert memory["raw_turns"] == []


def test_facts_and_summary_of_the_callers_model_are_kept(tenant: Tenant) -> None:
    ingest(tenant, "s")
    facts = [
        {"key": "name", "value": "Ada", "confidence": 1, "category": "user_preference"},
        {"value": {"nested": [1, None]}},
    ]

    sealed = seal(tenant, "s", facts=facts, summary="Ada said hello.")

    assert sealed.extraction == "host_llm"
    memory = document_of(tenant, sealed.capsule_id)["payload"]["memory"]
    assert memory["context_summary"] == "Ada said hello."
    assert [(f["key"], f["value"], f["confidence"], f["category"]) for f in memory["facts"]] == [
        ("name", "Ada", 1.0, "user_preference"),
        ("fact.1", {"nested": [1, None]}, 0.9, "other"),
    ]
    assert memory["timeline"][0]["event"] == "session_start"


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"facts": ["not an object"]}, InvalidInput),
        ({"facts": "text"}, InvalidInput),
        ({"facts": [{"key": 7, "value": "x"}]}, InvalidInput),
        ({"facts": [{"key": "k", "value": "x", "confidence": "high"}]}, InvalidInput),
        ({"facts": [{"key": "k", "value": "x", "confidence": 2}]}, InvalidInput),
        ({"facts": [{"key": "k", "value": "x", "category": "gossip"}]}, InvalidInput),
        ({"facts": [{"key": "k", "value": {"deep": ["\x00"]}}]}, InvalidInput),
        ({"facts": [{"key": "k", "value": "\ud800"}]}, InvalidInput),
        ({"facts": [{"key": "k", "value": 1}] * 501}, TooLarge),
        ({"summary": "x" * MAX_EXTRACTION_BYTES}, TooLarge),
        ({"summary": 7}, InvalidInput),
        ({"summary": "nul\x00"}, InvalidInput),
        ({"title": "nul\x00"}, InvalidInput),
        ({"title": "x" * 5_000}, TooLarge),
        ({"title": None}, InvalidInput),
        ({"tags": "tag"}, InvalidInput),
        ({"tags": ["nul\x00"]}, InvalidInput),
        ({"tags": [""]}, InvalidInput),
        ({"tags": [1]}, InvalidInput),
        ({"tags": ["x"] * 51}, TooLarge),
    ],
)
def test_what_cannot_be_kept_seals_nothing(tenant: Tenant, given: dict[str, Any], refusal: type[Exception]) -> None:
    ingest(tenant, "s")

    with pytest.raises(refusal):
        seal(tenant, "s", **given)

    with scope(tenant.organization):
        assert Session.objects.get(external_id="s").sealed_at is None
        assert not Capsule.objects.exists()


def test_a_backslash_before_u0000_is_not_a_nul(tenant: Tenant) -> None:
    ingest(tenant, "s")

    sealed = seal(tenant, "s", summary="written \\u0000", facts=[{"key": "\\\\u0000", "value": "\\"}])

    assert document_of(tenant, sealed.capsule_id)["payload"]["memory"]["context_summary"] == "written \\u0000"


def test_an_empty_session_seals_as_in_the_engine(tenant: Tenant) -> None:
    with scope(tenant.organization):
        sessions.open_session(project_id=tenant.project.pk, session_id="s", actor=tenant.actor)

    sealed = seal(tenant, "s")

    assert (sealed.turn_count, sealed.title) == (0, "Session s")


def test_an_unknown_session_cannot_be_sealed(tenant: Tenant) -> None:
    with pytest.raises(SessionNotFound):
        seal(tenant, "s")


def test_a_second_seal_returns_the_same_capsule_and_records_nothing(tenant: Tenant) -> None:
    ingest(tenant, "s")

    first = seal(tenant, "s", title="First")
    second = seal(tenant, "s", title="Second", summary="another")

    assert second == first == SealResult(first.capsule_id, "First", 2, "hybrid", "rule_based", first.user_id)
    with scope(tenant.organization):
        assert Capsule.objects.count() == 1
        [event] = AuditEvent.objects.filter(action=actions.MEMORY_SESSION_SEALED.name)
        assert event.metadata == {"capsule_id": first.capsule_id, "turns": 2}


def test_a_second_seal_does_not_revive_a_deleted_capsule(tenant: Tenant) -> None:
    ingest(tenant, "s")
    seal(tenant, "s")
    with scope(tenant.organization):
        Capsule.objects.all().delete()

    with pytest.raises(SessionSealed):
        seal(tenant, "s")


def test_the_snapshot_of_a_sealed_session_says_so(tenant: Tenant) -> None:
    ingest(tenant, "s")
    seal(tenant, "s")

    with scope(tenant.organization):
        assert not selectors.snapshot(project_id=tenant.project.pk, session_id="s").is_active


def test_a_turn_is_acknowledged_even_if_nothing_can_be_recalled(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    ingest(tenant, "old", pair("What is my favourite fruit?", "You told me: the quince."))
    seal(tenant, "old")
    with scope(tenant.organization):
        SearchEntry.objects.update(embedding=b"not a vector")

    result = ingest(tenant, "new", pair("Tell me about the quince"))

    assert (result.turn_id, result.recalled_context) == (1, None)
    assert "session.recall_failed" in caplog.text


def test_a_new_session_begins_with_what_is_remembered(tenant: Tenant) -> None:
    ingest(tenant, "old", pair("What is my favourite fruit?", "You told me: the quince."), user_id="ada")
    seal(tenant, "old")

    first = ingest(tenant, "new", pair("Tell me about the quince"), user_id="ada")
    second = ingest(tenant, "new", pair("Tell me about the quince"), user_id="ada")
    stranger = ingest(tenant, "other", pair("Tell me about the quince"), user_id="bob")

    assert first.recalled_context is not None
    assert "quince" in first.recalled_context
    assert first.recalled_facts_count == 1
    assert (second.recalled_context, second.recalled_facts_count) == (None, 0)
    assert (stranger.recalled_context, stranger.recalled_facts_count) == (None, 0)
