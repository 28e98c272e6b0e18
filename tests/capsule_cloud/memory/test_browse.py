"""The console's search says why a capsule matched."""

from capsule_cloud.memory.selectors.browse import SearchPage, search_page
from tenancy.scope import scope
from tests.capsule_cloud.memory.capsules_for_tests import context, memory, skill, store
from tests.factories import Tenant


def page(tenant: Tenant, query: str = "", **options: object) -> SearchPage:
    with scope(tenant.organization):
        return search_page(project_id=tenant.project.pk, query=query, **options)  # type: ignore[arg-type]


def test_a_match_shows_its_passage_and_words(tenant: Tenant) -> None:
    store(tenant, memory("filler " * 60 + "Dana drinks green teas daily " + "filler " * 60, "nothing"))

    (result,) = page(tenant, "tea drinking dana").results

    assert result.why is not None
    assert result.why.where == "fact"
    assert result.why.words == ["Dana", "drinks", "teas"]
    assert result.why.coverage == 1
    assert [piece.text for piece in result.why.passage if piece.is_match] == ["Dana", "drinks", "teas"]
    text = "".join(piece.text for piece in result.why.passage)
    assert text.startswith("…")
    assert text.endswith("…")
    assert len(text) < 300


def test_a_match_says_where_it_is(tenant: Tenant) -> None:
    store(tenant, memory("x", title="alpha"), memory("x", summary="bravo"), skill("charlie"), context("delta"))
    store(tenant, memory("x", tags=["echo"]))

    for word, where in (
        ("alpha", "title"),
        ("bravo", "summary"),
        ("charlie", "skill"),
        ("delta", "content"),
        ("echo", "tag"),
    ):
        (result,) = page(tenant, word).results
        assert result.why is not None
        assert result.why.where == where


def test_it_finds_while_the_word_is_being_typed(tenant: Tenant) -> None:
    store(tenant, memory("PostgreSQL"))
    (result,) = page(tenant, "postg").results
    assert result.why is not None
    assert result.why.words == ["PostgreSQL"]


def test_without_words_it_lists_the_newest(tenant: Tenant) -> None:
    ids = store(tenant, *(memory(f"number {n}") for n in range(5)))

    first, last = page(tenant, limit=3), page(tenant, " ", limit=3, offset=3)

    assert [result.capsule.capsule_id for result in first.results + last.results] == ids[::-1]
    assert (first.has_more, last.has_more) == (True, False)
    assert all(result.why is None for result in first.results)


def test_a_search_has_pages_and_filters(tenant: Tenant) -> None:
    store(tenant, *(memory("tea", user_id=f"user {n}") for n in range(5)))

    assert len(page(tenant, "tea", limit=3).results) == 3
    assert page(tenant, "tea", limit=3).has_more
    assert not page(tenant, "tea", limit=3, offset=3).has_more
    assert [result.capsule.user_id for result in page(tenant, "tea", user_id="user 3").results] == ["user 3"]
    assert page(tenant, "absent").results == []
