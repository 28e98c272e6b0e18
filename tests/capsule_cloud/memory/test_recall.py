"""Recall gives the engine's shape, the most relevant facts first."""

import pytest

from capsule_cloud.memory.engine import CapsuleStore, drive
from capsule_cloud.memory.limits import InvalidInput
from capsule_cloud.memory.selectors.recall import MAX_FACTS, Recalled, recall
from capsule_cloud.memory.storage import TenantStorage
from tenancy.scope import scope
from tests.capsule_cloud.memory.capsules_for_tests import context, memory, skill, store
from tests.factories import Tenant


def recalled(tenant: Tenant, query: str, **options: object) -> Recalled:
    with scope(tenant.organization):
        return recall(project_id=tenant.project.pk, query=query, **options)  # type: ignore[arg-type]


def test_relevant_facts_come_first(tenant: Tenant) -> None:
    store(tenant, memory("likes trains", "has a dog", "drinks green tea", summary="About Dana"))

    result = recalled(tenant, "Which tea?")

    assert [fact["value"] for fact in result.facts] == ["drinks green tea", "likes trains", "has a dog"]
    assert result.prompt_injection.index("green tea") < result.prompt_injection.index("trains")


def test_a_fact_deep_in_a_long_document_is_recalled(tenant: Tenant) -> None:
    store(tenant, memory(*(f"paragraph {n} of the report" for n in range(300)), "the zebra is in paragraph 300"))

    result = recalled(tenant, "zebra")

    assert len(result.facts) == MAX_FACTS
    assert "zebra" in result.facts[0]["value"]


def test_the_shape_is_the_engines_word_for_word(tenant: Tenant) -> None:
    store(tenant, memory("tea one", summary="first"), skill("brew tea"), context("tea leaves " * 50))
    with scope(tenant.organization):
        theirs = drive(
            CapsuleStore(TenantStorage(tenant.project.pk)).get_context_for_injection("tea", user_id="ada", top_k=3)
        )

    ours = recalled(tenant, "tea", user_id="ada", top_k=3)

    for part in ("facts", "skills", "summary", "prompt_injection", "sources"):
        assert getattr(ours, part) == theirs[part]


def test_nothing_remembered_is_an_empty_answer(tenant: Tenant) -> None:
    result = recalled(tenant, "anything")

    assert (result.facts, result.skills, result.summary, result.sources) == ([], [], "", [])
    assert result.prompt_injection.startswith("=== Historical Memory Context ===")


def test_sources_are_the_capsules_best_first(tenant: Tenant) -> None:
    ids = store(tenant, memory("tea", title="tea tea tea"), memory("a cup of tea and some coffee with milk and sugar"))

    assert recalled(tenant, "tea", top_k=2).sources == ids
    assert recalled(tenant, "tea", top_k=1).sources == ids[:1]


def test_it_answers_outside_a_scope_for_a_named_organization(tenant: Tenant) -> None:
    store(tenant, memory("tea"))

    result = recall(organization_id=tenant.organization.pk, project_id=tenant.project.pk, query="tea")

    assert len(result.sources) == 1


@pytest.mark.parametrize(("query", "top_k"), [("", 3), ("  ", 3), ("nul\x00", 3), ("tea", 0), ("tea", 51), (7, 3)])
def test_what_cannot_be_asked_is_refused(tenant: Tenant, query: str, top_k: int) -> None:
    with pytest.raises(InvalidInput):
        recalled(tenant, query, top_k=top_k)
