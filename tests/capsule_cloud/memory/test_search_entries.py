"""Entries of an earlier recipe are made anew, each once, whoever is killed and whatever cannot be read."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from capsule_cloud.memory import entries, search, tasks
from capsule_cloud.memory.models import Capsule, SearchEntry
from capsule_cloud.memory.services import search_entries
from tenancy.scope import scope
from tests.capsule_cloud.memory.capsules_for_tests import memory, store
from tests.factories import Tenant, make_tenant
from tests.threads import at_once


def age(tenant: Tenant, recipe: str = "an-older-model/1") -> None:
    """Make the tenant's entries another recipe's."""
    with scope(tenant.organization):
        SearchEntry.objects.update(embedding_model=recipe, embedding=b"short", lexemes="", length=0, keys=[])


def made(tenant: Tenant) -> list[tuple[object, ...]]:
    """All that search knows of the tenant's capsules."""
    with scope(tenant.organization):
        rows = SearchEntry.objects.order_by("pk")
        return [(row.keys, row.lexemes, row.length, bytes(row.embedding or b""), row.embedding_model) for row in rows]


@pytest.mark.parametrize("recipe", ["an-older-model/1", "z-a-later-model/1", "", f"{entries.RECIPE}0"])
def test_entries_of_another_recipe_become_what_saving_makes(tenant: Tenant, stranger: Tenant, recipe: str) -> None:
    for owner in (tenant, stranger):
        store(owner, memory("green tea"), memory("black coffee", user_id="bob"))
    before = made(tenant), made(stranger)
    age(tenant, recipe)
    age(stranger)

    tasks.renew_search_entries()

    assert (made(tenant), made(stranger)) == before
    assert search.find(tenant.organization.pk, tenant.project.pk, "tea").hits


def test_entries_of_this_recipe_are_left_alone(tenant: Tenant) -> None:
    store(tenant, memory("tea"))
    while search_entries.renew():
        pass
    with scope(tenant.organization):
        SearchEntry.objects.update(length=77)

    assert search_entries.renew() == 0
    assert made(tenant)[0][2] == 77


def test_a_batch_is_no_larger_than_asked(tenant: Tenant) -> None:
    while search_entries.renew():
        pass
    store(tenant, *(memory(f"tea {n}") for n in range(5)))
    age(tenant)

    assert [search_entries.renew(limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_document_that_cannot_be_read_keeps_its_words_and_holds_nothing_up(tenant: Tenant) -> None:
    store(tenant, memory("tea", title="Broken"), memory("tea", title="Whole"))
    with scope(tenant.organization):
        Capsule.objects.filter(title="Broken").update(document="{}")
        SearchEntry.objects.update(embedding_model="an-older-model/1")

    tasks.renew_search_entries()

    with scope(tenant.organization):
        broken, whole = SearchEntry.objects.order_by("capsule__title")
        assert broken.embedding is None
        assert whole.embedding is not None
        assert {broken.embedding_model, whole.embedding_model} == {entries.RECIPE}
        assert "tea" in broken.lexemes


def test_a_run_that_dies_changes_nothing(tenant: Tenant) -> None:
    store(tenant, memory("tea"))
    age(tenant)
    before = made(tenant)

    with transaction.atomic():
        assert search_entries.renew() >= 1
        transaction.set_rollback(True)

    assert made(tenant) == before
    assert search_entries.renew() >= 1


@pytest.mark.django_db(transaction=True)
def test_several_at_once_take_different_entries() -> None:
    while search_entries.renew():
        pass
    tenant = make_tenant()
    store(tenant, *(memory(f"tea {n}") for n in range(30)))
    before = made(tenant)
    age(tenant)
    counts: list[int] = []

    def work() -> None:
        while done := search_entries.renew(limit=4):
            counts.append(done)

    assert at_once(work, work, work) == [None] * 3
    assert sum(counts) == 30
    assert made(tenant) == before


def test_the_command_says_how_many(tenant: Tenant) -> None:
    while search_entries.renew():
        pass
    store(tenant, memory("tea"), memory("coffee"))
    age(tenant)
    output = StringIO()

    call_command("renew_search_entries", stdout=output)

    assert output.getvalue().splitlines()[-1] == "2 search entries made anew; none is left."


def test_finding_them_reads_an_index(tenant: Tenant) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'memory_searchentry'")
        before = cursor.fetchone()
        search_entries.renew()
        cursor.execute("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'memory_searchentry'")
        assert cursor.fetchone() == before
