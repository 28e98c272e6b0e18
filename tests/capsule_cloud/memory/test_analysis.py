"""Text becomes stems that compare, in any script, and nothing breaks PostgreSQL's text search."""

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from capsule_cloud.memory import analysis
from tests.bench import corpus


@pytest.mark.parametrize(
    ("text", "stems"),
    [
        ("Running databases, QUICKLY!", ["run", "databas", "quick"]),
        ("the cat and the hat", ["cat", "hat"]),
        ("userId in HTTPServer", ["userid", "user", "id", "httpserver", "http", "server"]),
        ("python3.12", ["python3", "python", "3", "12"]),
        ("snake_case_name", ["snake", "case", "name"]),
        ("Crème brûlée in Zürich", ["creme", "brule", "zurich"]),
        ("数据库", ["数据", "据库", "库"]),
        ("東京で", ["東京", "京で", "で"]),
        ("привет мир", ["привет", "мир"]),
        ("हिन्दी", ["हिन्दी"]),
        ("  \x00 ... ", []),
        ("\u0301 \u0308\u0301", []),
    ],
)
def test_text_becomes_stems(text: str, stems: list[str]) -> None:
    assert analysis.lexemes(text) == stems


@pytest.mark.parametrize("text", ["", "Running runs, RAN userId", "possibility " * 9, "数据库 and cats", "x" * 70])
def test_the_different_stems_are_those_of_the_text(text: str) -> None:
    assert analysis.distinct(text) == set(analysis.lexemes(text))


ENDINGS = ("", "s", "es", "ed", "ing", "ly", "y", "ies", "ying", "ility", "ization", "ational", "ically", "fulness")


def test_a_stem_is_its_words_beginning_but_for_two_characters() -> None:
    roots = ["dy", "sk", "tend", "gent", *corpus.vocabulary()[::5]]
    for word in (root + ending for root in roots for ending in ENDINGS):
        for text in (word, word.upper(), f"my{word.title()}2"):
            for stem in analysis.distinct(text):
                assert analysis.may_have(f"so {text}!", analysis.beginnings([stem])), (text, stem)


def test_a_text_without_a_beginning_has_none_of_the_stems() -> None:
    beginnings = analysis.beginnings(["tea", "databas"])
    assert not analysis.may_have("a cup of milk", beginnings)
    assert analysis.may_have("Databases", beginnings)
    assert analysis.may_have("数据库", beginnings), "only English stems are their words' beginnings"


def test_full_width_letters_are_the_same_letters() -> None:
    assert analysis.lexemes("ＰＯＳＴＧＲＥＳ") == analysis.lexemes("postgres")  # noqa: RUF001  # on purpose


def test_a_query_has_each_stem_once_and_few_of_a_long_text() -> None:
    assert analysis.query_lexemes("cats and a cat") == ["cat"]
    assert len(analysis.query_lexemes(" ".join(f"word{n}" for n in range(1000)))) == analysis.MAX_QUERY_LEXEMES


def test_a_single_chinese_character_matches_by_its_beginning() -> None:
    assert analysis.query_lexemes("数") == ["数*"]
    assert analysis.query_lexemes("数据库") == ["数据", "据库"]


@pytest.mark.parametrize(("typed", "lexeme"), [("postg", "postg*"), ("databases", "databas*"), ("running", "run*")])
def test_a_word_that_is_being_typed_matches_by_its_beginning(typed: str, lexeme: str) -> None:
    assert analysis.query_lexemes(f"fast {typed}", as_typed=True) == ["fast", lexeme]


def test_a_word_without_end_is_found_by_its_beginning() -> None:
    assert analysis.lexemes("A" * 100_000) == ["a" * analysis.MAX_LEXEME]


def test_the_label_says_how_often_a_stem_occurs() -> None:
    stems = ["a1"] + ["b2"] * 2 + ["c3"] * 4 + ["d4"] * 5
    assert analysis.vector(stems) == "'d4':1A '!d4':1 'c3':1B 'b2':1C 'a1':1D"


def test_one_stem_of_eight_is_central_the_most_frequent_and_then_the_first() -> None:
    stems = [f"w{n}" for n in range(16)] + ["often", "often"]
    central = [lexeme for lexeme in analysis.vector(stems).split() if lexeme.startswith("'!")]
    assert central == ["'!often':1", "'!w0':1", "'!w1':1"]
    assert analysis.vector([]) == ""


def test_matching_words_are_given_as_they_are_written() -> None:
    text = "Databases: the Database of Café Zürich"
    assert analysis.words_matching(text, {"databas", "zurich"}) == ["Databases", "Database", "Zürich"]
    assert analysis.words_matching(text, {"caf*"}) == ["Café"]


def test_the_places_of_words_are_whole_words() -> None:
    assert analysis.spans("cat concat cat", ["cat"]) == [(0, 3), (11, 14)]
    assert analysis.spans("我爱数据库", ["数据"]) == [(2, 4)]


@pytest.mark.django_db
def test_a_text_of_a_million_different_words_still_fits_a_vector() -> None:
    vector = analysis.vector([f"w{number}" for number in range(1_000_000)])
    with connection.cursor() as cursor:
        cursor.execute("SELECT length(%s::tsvector)", [vector])
        assert cursor.fetchone()[0] > 50_000


@given(st.text(max_size=300))
def test_any_text_gives_stems_that_a_vector_can_hold(text: str) -> None:
    for stem in analysis.lexemes(text):
        assert 0 < len(stem) <= analysis.MAX_LEXEME
        assert not set(stem) & set("' \\:*\x00!")


@given(st.text(max_size=200))
def test_a_query_finds_the_text_that_it_is(text: str) -> None:
    stems = set(analysis.lexemes(text))
    for lexeme in analysis.query_lexemes(text):
        if lexeme.endswith(analysis.PREFIX):
            assert any(stem.startswith(lexeme[:-1]) for stem in stems)
        else:
            assert lexeme in stems
