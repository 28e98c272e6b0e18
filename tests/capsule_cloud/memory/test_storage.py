"""The engine's storage on PostgreSQL: whole capsules come back, and only in their own project."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capsule_cloud.memory.engine import Capsule, CapsuleStatus, CapsuleType, StorageError, drive, verify_checksum
from capsule_cloud.memory.models import SearchEntry
from capsule_cloud.memory.storage import TenantStorage, save_capsule
from tenancy.models import Project
from tenancy.scope import NoScope, scope
from tests.capsule_cloud.memory.capsules_for_tests import context, memory, sealed, skill, store
from tests.factories import Tenant

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)


def storage(tenant: Tenant) -> TenantStorage:
    return TenantStorage(tenant.project.pk)


def test_a_capsule_comes_back_as_it_was(tenant: Tenant) -> None:
    capsule = memory("Dana likes tea", tags=["a", "b"], summary="Tea")
    with scope(tenant.organization):
        assert drive(storage(tenant).save(capsule)) == capsule.capsule_id
        assert drive(storage(tenant).get(capsule.capsule_id)) == capsule


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), JSON, max_size=4))
def test_any_payload_comes_back_equal_and_with_a_valid_checksum(tenant: Tenant, payload: dict[str, object]) -> None:
    for kind in CapsuleType:
        capsule = sealed(kind, payload, "x", "ada")
        store(tenant, capsule)
        with scope(tenant.organization):
            found = drive(storage(tenant).get(capsule.capsule_id))
        assert found is not None
        assert found.payload == capsule.payload
        assert verify_checksum(found.model_dump(mode="json"))


def test_an_escaped_nul_survives(tenant: Tenant) -> None:
    capsule = memory("before\x00after")
    store(tenant, capsule)
    with scope(tenant.organization):
        assert drive(storage(tenant).get(capsule.capsule_id)) == capsule


@pytest.mark.parametrize("user_id", ["a@b.c", "auth0|x/../y", "..", "名前", "x" * 255])
def test_an_end_user_is_free_text(tenant: Tenant, user_id: str) -> None:
    store(tenant, memory("hello", user_id=user_id))
    with scope(tenant.organization):
        assert drive(storage(tenant).count(user_id)) == 1


@pytest.mark.parametrize("user_id", ["", "nul\x00", "x" * 256, "\ud800"])
def test_a_user_id_that_cannot_be_stored_is_refused(tenant: Tenant, user_id: str) -> None:
    with scope(tenant.organization):
        capsule = memory("hello")
        capsule.identity.user_id = user_id
        with pytest.raises(StorageError):
            drive(storage(tenant).save(capsule))
        assert drive(storage(tenant).count()) == 0
        assert drive(storage(tenant).count(user_id)) == 0


def test_saving_again_replaces_the_capsule_and_its_words(tenant: Tenant) -> None:
    capsule = memory("zebras")
    store(tenant, capsule)
    changed = memory("giraffes")
    changed.capsule_id = capsule.capsule_id
    store(tenant, changed)
    with scope(tenant.organization):
        assert drive(storage(tenant).count()) == 1
        assert drive(storage(tenant).search("zebras")) == []
        assert [found.capsule_id for found, _ in drive(storage(tenant).search("giraffe"))] == [capsule.capsule_id]


def test_a_deleted_capsule_takes_its_search_entry_along(tenant: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("zebras"))
    with scope(tenant.organization):
        assert drive(storage(tenant).delete(capsule_id))
        assert not drive(storage(tenant).delete(capsule_id))
        assert not drive(storage(tenant).delete("nul\x00"))
        assert not SearchEntry.objects.filter(project_id=tenant.project.pk).exists()


def test_one_project_sees_nothing_of_another(tenant: Tenant, stranger: Tenant) -> None:
    (capsule_id,) = store(tenant, memory("a secret about zebras"))
    with scope(tenant.organization):
        sibling = TenantStorage(Project.objects.create(name="Sibling", slug="sibling").pk)
        for_sibling = memory("nothing")
        for_sibling.capsule_id = capsule_id
        drive(sibling.save(for_sibling))
        assert drive(sibling.search("zebras")) == []
        drive(sibling.delete(capsule_id))
        assert drive(storage(tenant).get(capsule_id)) is not None
    with scope(stranger.organization):
        for project in (tenant.project.pk, stranger.project.pk):
            theirs = TenantStorage(project)
            assert drive(theirs.get(capsule_id)) is None
            assert drive(theirs.list()) == []
            assert drive(theirs.search("zebras")) == []
            assert drive(theirs.count()) == 0
            assert not drive(theirs.delete(capsule_id))


def test_nothing_can_be_put_into_a_strangers_project(tenant: Tenant, stranger: Tenant) -> None:
    with scope(stranger.organization), pytest.raises(DatabaseError, match="no such project"), transaction.atomic():
        save_capsule(tenant.project.pk, memory("intruder"))


def test_without_a_scope_there_is_nothing(tenant: Tenant) -> None:
    with pytest.raises(NoScope):
        drive(storage(tenant).get("cap_x"))


def test_a_list_reaches_every_capsule_newest_first(tenant: Tenant) -> None:
    ids = store(
        tenant, *(memory(f"number {n}", tags=["even"] if n % 2 == 0 else ["odd"]) for n in range(7)), skill("dig")
    )
    with scope(tenant.organization):
        everything = [c.capsule_id for n in range(0, 9, 3) for c in drive(storage(tenant).list(limit=3, offset=n))]
        assert everything == ids[::-1]
        assert len(drive(storage(tenant).list(tags=["even"]))) == 4
        assert len(drive(storage(tenant).list(tags=["even", "odd"]))) == 0
        assert [c.metadata.title for c in drive(storage(tenant).list(capsule_type=CapsuleType.SKILL))] == ["dig"]
        assert drive(storage(tenant).list(status=CapsuleStatus.DRAFT)) == []


def test_a_naive_moment_means_utc(tenant: Tenant) -> None:
    early, late = memory("early"), memory("late")
    early.lifecycle.sealed_at = datetime.utcnow() - timedelta(minutes=5)  # noqa: DTZ003  # as the engine's callers do
    late.lifecycle.sealed_at = timezone.now() - timedelta(minutes=1)
    store(tenant, late, early)
    with scope(tenant.organization):
        assert [c.capsule_id for c in drive(storage(tenant).list())] == [late.capsule_id, early.capsule_id]


def test_an_expired_capsule_is_gone_everywhere(tenant: Tenant) -> None:
    capsule = memory("zebras", expires_at=timezone.now() - timedelta(seconds=1))
    store(tenant, capsule)
    with scope(tenant.organization):
        assert drive(storage(tenant).get(capsule.capsule_id)) is None
        assert drive(storage(tenant).list()) == []
        assert drive(storage(tenant).count()) == 0
        assert drive(storage(tenant).search("zebras")) == []


def test_a_context_is_found_by_all_of_its_text(tenant: Tenant) -> None:
    (capsule_id,) = store(tenant, context("x " * 5000 + "needle"))
    with scope(tenant.organization):
        found: list[tuple[Capsule, float]] = drive(storage(tenant).search("needle"))
    assert [capsule.capsule_id for capsule, _ in found] == [capsule_id]


def test_an_id_of_nobody_is_none(tenant: Tenant) -> None:
    with scope(tenant.organization):
        for capsule_id in ("cap_unknown", "../../outside", "nul\x00", uuid4().hex * 40, ""):
            assert drive(storage(tenant).get(capsule_id)) is None
