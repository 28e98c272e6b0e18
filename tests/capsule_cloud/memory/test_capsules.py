"""Capsules are read, changed, merged, forked and deleted, each write audited, nothing lost on the way."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.utils import timezone

from capsule_cloud.memory import search
from capsule_cloud.memory.engine import drive
from capsule_cloud.memory.limits import InvalidInput, TooLarge
from capsule_cloud.memory.models import Capsule, SearchEntry, Session, Turn
from capsule_cloud.memory.selectors import capsules as selectors
from capsule_cloud.memory.selectors.capsules import CapsuleNotFound
from capsule_cloud.memory.services import capsules
from capsule_cloud.memory.storage import TenantStorage
from tenancy.audit import actions, people
from tenancy.audit.models import AuditEvent
from tenancy.scope import Wide, scope
from tests.capsule_cloud.memory.capsules_for_tests import context, memory, sealed, skill, store
from tests.capsule_cloud.memory.conversations import ingest, pair, seal
from tests.factories import Tenant
from tests.threads import at_once


def act(tenant: Tenant, service: Any, **options: Any) -> Any:
    """Call a service in the tenant's project, as its owner."""
    with scope(tenant.organization):
        return service(project_id=tenant.project.pk, actor=tenant.actor, **options)


def ask(tenant: Tenant, selector: Any, **options: Any) -> Any:
    """Call a selector in the tenant's project."""
    with scope(tenant.organization):
        return selector(project_id=tenant.project.pk, **options)


def audited(tenant: Tenant, action: actions.Action) -> list[AuditEvent]:
    with scope(tenant.organization):
        return people.reveal(AuditEvent.objects.filter(action=action.name).order_by("id"))


def document(tenant: Tenant, capsule_id: str) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads(ask(tenant, selectors.get_document, capsule_id=capsule_id))
    return read


def test_a_deleted_capsule_is_gone_with_the_turns_it_was_made_of(tenant: Tenant) -> None:
    ingest(tenant, "s", pair("I live in Lisbon"))
    capsule_id = seal(tenant, "s").capsule_id

    deleted = act(tenant, capsules.delete_capsule, capsule_id=capsule_id)

    assert deleted.turns == 2
    with pytest.raises(CapsuleNotFound):
        ask(tenant, selectors.get_document, capsule_id=capsule_id)
    with scope(tenant.organization):
        assert not Turn.objects.exists()
        assert not SearchEntry.objects.exists()
    (event,) = audited(tenant, actions.MEMORY_CAPSULE_DELETED)
    assert (event.target["id"], event.actor["id"]) == (capsule_id, tenant.actor.id)


def test_a_capsule_of_another_user_or_project_cannot_be_deleted(tenant: Tenant, stranger: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("mine"))

    with pytest.raises(CapsuleNotFound):
        act(stranger, capsules.delete_capsule, capsule_id=capsule_id)
    with pytest.raises(CapsuleNotFound):
        act(tenant, capsules.delete_capsule, capsule_id=capsule_id, user_id="bob")
    assert ask(tenant, selectors.count_capsules) == 1


def test_deleting_an_end_user_counts_exactly_and_spares_others(tenant: Tenant) -> None:
    store(
        tenant, memory("one"), memory("two", expires_at=timezone.now() - timedelta(days=1)), memory("b", user_id="bob")
    )
    ingest(tenant, "open", pair(), pair(), user_id="ada")
    ingest(tenant, "bobs", pair(), user_id="bob")

    deleted = act(tenant, capsules.delete_user, user_id="ada")

    assert (deleted.capsules, deleted.sessions, deleted.turns) == (2, 1, 4)
    with scope(tenant.organization):
        assert Capsule.objects.get().user_id == "bob"
        assert SearchEntry.objects.get().user_id == "bob"
        assert Session.objects.get().user_id == "bob"
    (event,) = audited(tenant, actions.MEMORY_USER_DELETED)
    assert event.metadata == {"capsules": 2, "sessions": 1, "turns": 4, "triggers": deleted.triggers}


def test_deleting_a_stranger_counts_zero(tenant: Tenant) -> None:
    assert act(tenant, capsules.delete_user, user_id="nobody").capsules == 0


def test_a_pinned_capsule_has_no_end(tenant: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("keep", expires_at=timezone.now() + timedelta(days=1)))

    assert act(tenant, capsules.set_pinned, capsule_id=capsule_id, is_pinned=True).expires_at is None
    assert document(tenant, capsule_id)["lifecycle"]["expires_at"] is None
    with pytest.raises(InvalidInput, match="pinned"):
        act(tenant, capsules.set_expiry, capsule_id=capsule_id, expires_at=timezone.now() + timedelta(days=1))
    act(tenant, capsules.set_pinned, capsule_id=capsule_id, is_pinned=True)
    assert not act(tenant, capsules.set_pinned, capsule_id=capsule_id, is_pinned=False).is_pinned

    assert len(audited(tenant, actions.MEMORY_CAPSULE_PINNED)) == 1
    assert len(audited(tenant, actions.MEMORY_CAPSULE_UNPINNED)) == 1


def test_new_tags_are_in_the_document_the_list_and_the_search(tenant: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("tea", tags=["old"]))

    act(tenant, capsules.set_tags, capsule_id=capsule_id, tags=["zebra", "new", "zebra"])
    act(tenant, capsules.set_tags, capsule_id=capsule_id, tags=["zebra", "new"])

    assert document(tenant, capsule_id)["metadata"]["tags"] == ["zebra", "new"]
    assert [row.capsule_id for row in ask(tenant, selectors.list_capsules, tags=["new"])] == [capsule_id]
    assert ask(tenant, selectors.list_capsules, tags=["old"]) == []
    assert search.find(tenant.organization.pk, tenant.project.pk, "zebra", tags=["zebra"]).hits
    (event,) = audited(tenant, actions.MEMORY_CAPSULE_TAGGED)
    assert event.changes == {"tags": [["old"], ["zebra", "new"]]}


@pytest.mark.parametrize("tags", [["x" * 256], ["nul\x00"], [""], [7], [str(n) for n in range(51)]])
def test_tags_beyond_the_limits_are_refused(tenant: Tenant, tags: list[str]) -> None:
    (capsule_id,) = store(tenant, memory("tea", tags=["old"]))
    with pytest.raises(InvalidInput):
        act(tenant, capsules.set_tags, capsule_id=capsule_id, tags=tags)
    assert document(tenant, capsule_id)["metadata"]["tags"] == ["old"]


def test_an_end_can_be_set_and_taken_away(tenant: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("tea"))
    end = timezone.now() + timedelta(hours=1)

    assert act(tenant, capsules.set_expiry, capsule_id=capsule_id, expires_at=end).expires_at == end
    naive = end.replace(tzinfo=None)
    assert act(tenant, capsules.set_expiry, capsule_id=capsule_id, expires_at=naive).expires_at == end
    assert act(tenant, capsules.set_expiry, capsule_id=capsule_id, expires_at=None).expires_at is None
    with pytest.raises(InvalidInput, match="future"):
        act(tenant, capsules.set_expiry, capsule_id=capsule_id, expires_at=timezone.now())
    assert len(audited(tenant, actions.MEMORY_CAPSULE_EXPIRY_SET)) == 2


@pytest.mark.django_db(transaction=True)
def test_capsules_whose_end_has_passed_are_purged_everywhere(tenant: Tenant, stranger: Tenant) -> None:
    for each in (tenant, stranger):
        store(each, memory("gone", expires_at=timezone.now() - timedelta(seconds=1)), memory("stays"))

    while capsules.purge_expired():
        pass

    for each in (tenant, stranger):
        with scope(each.organization):
            assert Capsule.objects.get().title == "A title"
            assert Capsule.objects.get().expires_at is None
        (event,) = audited(each, actions.MEMORY_CAPSULES_EXPIRED)
        assert event.metadata["capsules"] == 1


@pytest.mark.django_db(transaction=True)
def test_of_sweeps_at_once_one_purges_and_records(tenant: Tenant) -> None:
    store(tenant, *(memory(f"gone {n}", expires_at=timezone.now() - timedelta(hours=1)) for n in range(20)))
    at_once(*[capsules.purge_expired] * 4)
    assert [event.metadata["capsules"] for event in audited(tenant, actions.MEMORY_CAPSULES_EXPIRED)] == [20]


def test_an_end_that_is_put_off_in_the_last_moment_keeps_the_capsule_and_its_turns(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tenant, "s", pair("Tea?"))
    capsule_id = seal(tenant, "s").capsule_id
    with scope(tenant.organization):
        Capsule.objects.update(expires_at=timezone.now() + timedelta(days=1))
        row = Capsule.objects.get()
    found = {"organization_id": row.organization_id, "project_id": row.project_id, "capsule_id": capsule_id}
    monkeypatch.setattr(Wide, "rows", lambda *_: [found])  # as the sweep saw it a moment ago
    capsules.purge_expired()
    with scope(tenant.organization):
        assert (Capsule.objects.count(), Turn.objects.count()) == (1, 2)
    assert audited(tenant, actions.MEMORY_CAPSULES_EXPIRED) == []


def test_a_merge_keeps_every_fact_skill_and_text(tenant: Tenant) -> None:
    first, second = memory("low", summary="first"), memory("high", summary="second")
    first.payload["facts"][0]["confidence"] = 0.2
    numbered = [memory(f"Q: {n}") for n in range(2)]
    for each in numbered:
        each.payload["facts"][0]["key"] = "conversation.turn_1"
    long_text = "word " * 200
    ids = store(tenant, first, second, *numbered, skill("dig"), skill("sow"), context(long_text))

    made = act(tenant, capsules.merge, capsule_ids=ids, title="All", tags=["merged"])

    payload = document(tenant, made.capsule_id)["payload"]
    assert [fact["value"] for fact in payload["memory"]["facts"]] == ["high", "Q: 0", "Q: 1"]
    assert [each["skill_name"] for each in payload["skills"]] == ["dig", "sow"]
    assert long_text in payload["memory"]["context_summary"]
    assert (made.title, made.tags, made.user_id) == ("All", ["merged"], "ada")
    assert ask(tenant, selectors.count_capsules) == len(ids) + 1
    (event,) = audited(tenant, actions.MEMORY_CAPSULE_MERGED)
    assert event.metadata["sources"] == ids


def test_a_merge_of_skills_keeps_them_all(tenant: Tenant) -> None:
    made = act(tenant, capsules.merge, capsule_ids=store(tenant, skill("a"), skill("b"), skill("c")))
    assert [each["skill_name"] for each in document(tenant, made.capsule_id)["payload"]["skills"]] == ["a", "b", "c"]
    same = act(tenant, capsules.merge, capsule_ids=store(tenant, skill("d"), skill("d")))
    assert (same.capsule_type, document(tenant, same.capsule_id)["payload"]["skill_name"]) == ("skill", "d")


def test_a_merge_of_odd_payloads_is_a_merge(tenant: Tenant) -> None:
    odd = [
        sealed(kind, payload, "odd", "ada")
        for kind in memory("x").capsule_type.__class__
        for payload in ({}, {"facts": 7, "memory": [], "skills": "x"}, {"facts": [1, {"key": "k"}], "content": 5})
    ]
    made = act(tenant, capsules.merge, capsule_ids=store(tenant, *odd))
    assert made.capsule_type == "memory"


def test_end_users_are_not_mixed_by_a_merge(tenant: Tenant) -> None:
    ids = store(tenant, memory("a"), memory("b", user_id="bob"))
    with pytest.raises(InvalidInput, match="different end users"):
        act(tenant, capsules.merge, capsule_ids=ids)
    with pytest.raises(CapsuleNotFound):
        act(tenant, capsules.merge, capsule_ids=ids, user_id="ada")


@pytest.mark.parametrize("ids", [[], ["cap_one"], ["cap_one", "cap_one"], [f"cap_{n}" for n in range(51)]])
def test_a_merge_needs_two_to_fifty_capsules(tenant: Tenant, ids: list[str]) -> None:
    with pytest.raises(InvalidInput):
        act(tenant, capsules.merge, capsule_ids=ids)


@pytest.mark.parametrize("capsule_id", ["../../out/a", "cap_unknown", "nul\x00"])
def test_unknown_capsules_are_not_found(tenant: Tenant, capsule_id: str) -> None:
    (known,) = store(tenant, memory("a"))
    for service, options in (
        (capsules.merge, {"capsule_ids": [known, capsule_id]}),
        (capsules.fork, {"capsule_id": capsule_id, "new_user_id": "bob"}),
        (capsules.set_pinned, {"capsule_id": capsule_id, "is_pinned": True}),
        (capsules.set_tags, {"capsule_id": capsule_id, "tags": []}),
        (capsules.set_expiry, {"capsule_id": capsule_id, "expires_at": None}),
        (capsules.delete_capsule, {"capsule_id": capsule_id}),
    ):
        with pytest.raises(CapsuleNotFound):
            act(tenant, service, **options)
    for selector in (selectors.get_document, selectors.get_capsule, selectors.prompt_snippet):
        with pytest.raises(CapsuleNotFound):
            ask(tenant, selector, capsule_id=capsule_id)
    with pytest.raises(CapsuleNotFound):
        ask(tenant, selectors.diff, capsule_id_a=known, capsule_id_b=capsule_id)


def test_a_fork_is_a_copy_for_somebody_else(tenant: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("tea", tags=["a"]))

    made = act(
        tenant, capsules.fork, capsule_id=capsule_id, new_user_id="bob@example.com", new_agent_id="x", tags=["b"]
    )

    assert (made.user_id, made.agent_id, made.tags, made.status) == ("bob@example.com", "x", ["a", "b"], "imported")
    assert document(tenant, made.capsule_id)["metadata"]["forked_from"] == capsule_id
    assert document(tenant, capsule_id)["identity"]["user_id"] == "ada"
    (event,) = audited(tenant, actions.MEMORY_CAPSULE_FORKED)
    assert event.metadata == {"source": capsule_id, "from_user_id": "ada", "user_id": "bob@example.com"}


def test_lists_counts_and_people(tenant: Tenant) -> None:
    store(tenant, memory("1"), memory("2"), memory("3", user_id="bob"), skill("s", user_id="bo"))

    assert [row.capsule_type for row in ask(tenant, selectors.list_capsules, limit=2)] == ["skill", "memory"]
    assert len(ask(tenant, selectors.list_capsules, limit=10, offset=3)) == 1
    assert ask(tenant, selectors.count_capsules, user_id="ada") == 2
    assert ask(tenant, selectors.count_capsules, capsule_type="skill") == 1
    people = ask(tenant, selectors.end_users)
    assert [(person.user_id, person.capsules) for person in people] == [("ada", 2), ("bo", 1), ("bob", 1)]
    newest = ask(tenant, selectors.list_capsules, user_id="ada")[0]
    assert people[0].last_sealed_at == newest.sealed_at
    assert len(ask(tenant, selectors.end_users, starts_with="bo")) == 2
    with pytest.raises(InvalidInput, match="type must be"):
        ask(tenant, selectors.list_capsules, capsule_type="nope")
    with pytest.raises(TooLarge):
        ask(tenant, selectors.list_capsules, tags=["x"] * 51)


def test_a_difference_and_a_snippet_are_the_engines(tenant: Tenant) -> None:
    a, b = store(tenant, memory("old", summary="s"), memory("new", "more", summary="s"))

    difference = ask(tenant, selectors.diff, capsule_id_a=a, capsule_id_b=b)

    assert difference["modified_facts"] == [{"key": "fact.0", "old_value": "old", "new_value": "new"}]
    assert (difference["facts_delta"], difference["summary_changed"]) == (1, False)
    with scope(tenant.organization):
        capsule = drive(TenantStorage(tenant.project.pk).get(a))
    assert capsule is not None
    assert ask(tenant, selectors.prompt_snippet, capsule_id=a) == capsule.to_prompt_snippet()
