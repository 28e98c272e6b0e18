"""Search finds the right capsule by words and meaning, in its own project alone, however large that is."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from capsule_cloud.memory import embedding, entries, search
from capsule_cloud.memory.models import Capsule, SearchEntry, SearchStatistics
from tenancy.scope import scope
from tests.capsule_cloud.memory.capsules_for_tests import context, memory, skill, store
from tests.factories import Tenant


def found(tenant: Tenant, query: str, **options: Any) -> list[str]:
    """Titles, best first."""
    return [hit.title for hit in search.find(tenant.organization.pk, tenant.project.pk, query, **options).hits]


def test_the_rare_word_decides(tenant: Tenant) -> None:
    store(tenant, *(memory("works on the project", title=f"Project {n}") for n in range(5)))
    store(tenant, memory("works on the zebra project", title="Zebra"))

    assert found(tenant, "zebra project", top_k=1) == ["Zebra"]


def test_words_match_by_their_stem_and_in_any_script(tenant: Tenant) -> None:
    store(
        tenant, memory("He runs databases"), memory("他喜欢数据库", title="中文"), memory("東京に住む", title="日本語")
    )

    assert found(tenant, "running database") == ["A title"]
    assert found(tenant, "数据库") == ["中文"]
    assert found(tenant, "喜") == ["中文"]
    assert found(tenant, "東京") == ["日本語"]


def test_every_part_of_a_capsule_is_searched(tenant: Tenant) -> None:
    store(tenant, memory("value", title="alpha", tags=["bravo"], summary="charlie"), skill("delta"), context("echo"))

    for word in ("alpha", "bravo", "charlie", "value"):
        assert found(tenant, word) == ["alpha"]
    assert found(tenant, "delta") == ["delta"]
    assert found(tenant, "echo") == ["Notes"]


def test_full_coverage_means_that_every_word_matched(tenant: Tenant) -> None:
    store(tenant, memory("green tea in Kyoto"), memory("black coffee", title="Other"))

    hits = search.find(tenant.organization.pk, tenant.project.pk, "Kyoto tea").hits
    assert [hit.coverage for hit in hits] == [1.0]
    (half,) = search.find(tenant.organization.pk, tenant.project.pk, "coffee unheard").hits
    assert 0 < half.coverage < 1


def test_among_equal_words_the_meaning_decides(tenant: Tenant) -> None:
    store(tenant, memory("the bank of the river, with water and fish", title="River"))
    store(tenant, memory("the bank of the city, with money and loans", title="Money"))

    assert found(tenant, "bank account", top_k=1) == ["Money"]
    assert found(tenant, "bank boat", top_k=1) == ["River"]


def test_filters_narrow_the_search(tenant: Tenant) -> None:
    store(
        tenant, memory("tea", title="Ada's", tags=["x", "y"]), memory("tea", title="Bob's", user_id="bob", tags=["x"])
    )
    store(tenant, skill("tea"))

    assert set(found(tenant, "tea", user_id="ada")) == {"Ada's", "tea"}
    assert found(tenant, "tea", user_id="bob") == ["Bob's"]
    assert found(tenant, "tea", user_id="nobody") == []
    assert found(tenant, "tea", capsule_type="skill") == ["tea"]
    assert found(tenant, "tea", tags=["x", "y"]) == ["Ada's"]
    assert found(tenant, "tea", user_id="nul\x00") == []


def test_an_expired_capsule_is_never_found(tenant: Tenant) -> None:
    store(tenant, memory("tea", title="Soon", expires_at=timezone.now() + timedelta(hours=1)))
    store(tenant, memory("tea", title="Gone", expires_at=timezone.now() - timedelta(seconds=1)))

    assert found(tenant, "tea") == ["Soon"]


def test_a_query_without_words_finds_nothing(tenant: Tenant) -> None:
    store(tenant, memory("the tea"))

    for query in ("", " ", "the", "\x00", "!!!", "🫖"):
        assert found(tenant, query) == []


def test_the_last_word_may_be_unfinished(tenant: Tenant) -> None:
    store(tenant, memory("PostgreSQL databases"))

    assert found(tenant, "postg") == []
    assert found(tenant, "postg", as_typed=True) == ["A title"]
    assert found(tenant, "databases", as_typed=True) == ["A title"]


def test_another_organization_or_project_is_never_searched(tenant: Tenant, stranger: Tenant) -> None:
    store(tenant, memory("zebra"))

    for organization, project in (
        (stranger.organization, tenant.project),
        (stranger.organization, stranger.project),
        (tenant.organization, stranger.project),
    ):
        assert search.find(organization.pk, project.pk, "zebra").hits == []


def test_the_search_function_believes_the_scope_and_no_argument(tenant: Tenant, stranger: Tenant) -> None:
    store(tenant, memory("zebra"))
    key = entries.key(tenant.project.pk)
    call = "SELECT * FROM memory_search(%s, %s, %s, NULL, NULL, NULL, %s, 10, 10, '')"
    with scope(stranger.organization), connection.cursor() as cursor:
        for organization in (tenant.organization.pk, stranger.organization.pk):
            cursor.execute(call, [organization, tenant.project.pk, key, ["zebra"]])
            assert cursor.fetchall() == []
        cursor.execute("SELECT memory_newest(%s, NULL, NULL, NULL, 'zebra')", [tenant.project.pk])
        assert cursor.fetchone() == ([],)


HOSTILE = ["' OR 1=1 --", "zebra:*", "!zebra", "zebra & | (", "\\", "a'b", "zebra <-> tea", "%s", "*", ":*", "\ud800"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
@example(HOSTILE[0])
@example(HOSTILE[4])
def test_no_query_fails(tenant: Tenant, query: str) -> None:
    search.find(tenant.organization.pk, tenant.project.pk, query, as_typed=True)


@pytest.mark.parametrize("query", HOSTILE)
def test_a_hostile_query_is_only_words(tenant: Tenant, query: str) -> None:
    store(tenant, memory("nothing to see"))
    assert found(tenant, query) == []


def test_a_long_query_is_answered(tenant: Tenant) -> None:
    store(tenant, memory("zebra"))
    assert found(tenant, "zebra " + "word " * 50_000) == ["A title"]


def test_a_document_too_large_for_the_trip_comes_all_the_same(tenant: Tenant) -> None:
    store(tenant, memory(*(f"filler {n} " * 20 for n in range(200)), "zebra"))

    (hit,) = search.find(tenant.organization.pk, tenant.project.pk, "zebra").hits
    assert len(hit.document) > 16_384
    assert "zebra" in hit.document


# --- A project larger than the budget of candidates -----------------------------------------------------------------


def crowd(tenant: Tenant, texts: Sequence[str], user_id: str = "ada") -> None:
    """Many capsules at once, as `memory_save` would store them, and the count of their words."""
    project: UUID = tenant.project.pk
    with scope(tenant.organization):
        capsules, searched = [], []
        for number, text in enumerate(texts):
            made = memory(text, title=text, user_id=user_id)
            document = made.model_dump_json()
            entry = entries.make(project, user_id, made.model_dump(mode="json"))
            capsule = Capsule(
                project_id=project, capsule_id=made.capsule_id, user_id=user_id, session_id="s", origin_platform="test",
                capsule_type="memory", status="sealed", title=text, size=len(document), document=document,
            )  # fmt: skip
            capsules.append(capsule)
            searched.append(
                SearchEntry(
                    capsule=capsule,
                    project_id=project,
                    user_id=user_id,
                    capsule_type="memory",
                    keys=entry.keys,
                    lexemes=entry.lexemes,
                    length=entry.length,
                    embedding=entry.embedding,
                    embedding_model=entry.embedding_model,
                    lot=number / len(texts),
                )
            )
        Capsule.objects.bulk_create(capsules)
        SearchEntry.objects.bulk_create(searched)
        with connection.cursor() as cursor:
            cursor.execute("SELECT memory_refresh_statistics(%s, %s)", [tenant.organization.pk, project])


def test_in_a_large_project_rare_common_and_mixed_words_all_find(tenant: Tenant) -> None:
    texts = [f"common{n % 2} middle{n % 7} word{n}" for n in range(2000)]
    crowd(tenant, texts)

    assert found(tenant, "word77", top_k=1) == ["common1 middle0 word77"]
    assert found(tenant, "common1 word77", top_k=1) == ["common1 middle0 word77"]
    assert all("common1 middle3" in title for title in found(tenant, "common1 middle3"))
    assert len(found(tenant, "common1")) == 5
    assert len(found(tenant, "common1 common0")) == 5
    assert len(found(tenant, "nothing common1")) == 5
    assert found(tenant, "nothing nowhere") == []
    assert found(tenant, "word7", as_typed=True)[0].startswith("common")


def test_a_common_word_alone_finds_the_capsules_it_is_central_to_however_old(tenant: Tenant) -> None:
    about = [f"kettle kettle kettle number{n}" for n in range(5)]
    beside = [f"lorem{n} ipsum{n} dolor{n} amet{n} elit{n} sed{n} tempor{n} magna{n} kettle" for n in range(1700)]
    crowd(tenant, about + beside)

    assert set(found(tenant, "kettle")) == set(about)
    assert set(found(tenant, "kett", as_typed=True)) == set(about)


def test_a_common_word_that_is_central_nowhere_finds_the_newest(tenant: Tenant) -> None:
    texts = [f"lorem{n} ipsum{n} dolor{n} amet{n} elit{n} sed{n} tempor{n} magna{n} kettle" for n in range(1500)]
    crowd(tenant, texts)

    assert set(found(tenant, "kettle", top_k=50)) <= set(texts[-400:])


def test_an_embedding_of_another_model_counts_for_nothing(tenant: Tenant) -> None:
    store(tenant, memory("the bank of the river, with water and fish", title="River"))
    store(tenant, memory("the bank of the city, with money and loans", title="Money"))
    assert found(tenant, "bank account") == ["Money", "River"]

    with scope(tenant.organization):
        foreign = SearchEntry.objects.filter(capsule__title="Money")
        foreign.update(embedding_model="another/1", embedding=b"of another length")
    by_words, _ = search.find(tenant.organization.pk, tenant.project.pk, "bank account").hits
    with scope(tenant.organization):
        SearchEntry.objects.update(embedding_model="another/1")
    both = search.find(tenant.organization.pk, tenant.project.pk, "bank account").hits

    assert by_words.score > 0
    assert [hit.score for hit in both] == pytest.approx([hit.coverage for hit in both], rel=1)


def test_a_capsule_that_waits_for_its_embedding_is_neither_ahead_nor_behind(tenant: Tenant) -> None:
    scores = search._scores("tea", [0.5, 0.5, 0.5], [None, *map(vector_of, ("green tea", "annual tax report"))])
    assert scores[1] > scores[0] > scores[2]
    assert search._scores("tea", [0.5, 0.2], [None, None]).tolist() == pytest.approx([0.5, 0.2])


def vector_of(text: str) -> bytes:
    """As it is stored."""
    return embedding.to_bytes(embedding.embed(text))


def test_a_quiet_user_in_a_large_project_is_found_by_common_words(tenant: Tenant) -> None:
    crowd(tenant, [f"common word{n}" for n in range(1500)])
    store(tenant, memory("common", title="Bob's", user_id="bob"))

    assert found(tenant, "common absent", user_id="bob") == ["Bob's"]


def test_a_filter_in_a_large_project_finds_by_common_words(tenant: Tenant) -> None:
    store(tenant, skill("common"))
    crowd(tenant, [f"common word{n}" for n in range(1500)])

    assert found(tenant, "common", capsule_type="skill") == ["common"]


def test_statistics_are_a_fair_count(tenant: Tenant) -> None:
    crowd(tenant, [f"everywhere {'half' if n % 2 else 'other'} word{n}" for n in range(3000)])

    with scope(tenant.organization):
        statistics = SearchStatistics.objects.get(project_id=tenant.project.pk)
    assert 2700 < statistics.capsules < 3300
    assert statistics.words["everywher"] == 1
    assert 0.4 < statistics.words["half"] < 0.6
    assert statistics.people == {"ada": 1}


def test_a_growing_project_counts_its_words_by_itself(tenant: Tenant) -> None:
    crowd(tenant, [f"word{n}" for n in range(299)])
    with scope(tenant.organization):
        SearchStatistics.objects.all().delete()
    store(tenant, memory("the three hundredth"))
    with scope(tenant.organization):
        assert not SearchStatistics.objects.exists()
    store(tenant, memory("one more"))
    with scope(tenant.organization):
        assert SearchStatistics.objects.get().capsules == 301


def test_search_reads_the_index_under_row_security(tenant: Tenant) -> None:
    crowd(tenant, [f"word{n}" for n in range(1500)])
    with scope(tenant.organization), connection.cursor() as cursor:
        cursor.execute("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'memory_searchentry'")
        before = cursor.fetchone()
        search.find(tenant.organization.pk, tenant.project.pk, "word77")
        cursor.execute("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'memory_searchentry'")
        assert cursor.fetchone() == before


@pytest.mark.django_db(transaction=True)
def test_a_search_is_one_round_trip(tenant: Tenant, django_assert_num_queries: Any) -> None:
    store(tenant, memory("zebra"))
    with django_assert_num_queries(1):
        assert found(tenant, "zebra") == ["A title"]
