"""What a field refuses, it refuses in the words of the engine's own server (FastAPI and pydantic)."""

from typing import Annotated, Any

import pytest
from pydantic import Field as Pydantic
from pydantic import TypeAdapter, ValidationError

from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.fields import Choice, Field, Flag, Fraction, Many, Moment, Record, Text, Whole, parse

LIMIT = Whole(name="x", low=1, high=100)
SAME: list[tuple[Field, Any, list[Any]]] = [
    (LIMIT, Annotated[int, Pydantic(ge=1, le=100)], ["0", "101", "x", "1.5", "", "-5", " "]),
    (Flag(name="x"), bool, ["perhaps", "2", ""]),
    (Text(name="x", low=1, high=3), Annotated[str, Pydantic(min_length=1, max_length=3)], ["", "four", 7, [], {}]),
]


def problems(error: ApiError) -> list[dict[str, Any]]:
    assert isinstance(error.detail, list)
    return error.detail


@pytest.mark.parametrize(
    ("field", "theirs", "raw"), [(field, theirs, raw) for field, theirs, values in SAME for raw in values]
)
def test_a_refusal_reads_as_the_engines(field: Field, theirs: Any, raw: Any) -> None:
    with pytest.raises(ValidationError) as expected:
        TypeAdapter(theirs).validate_python(raw)
    with pytest.raises(ApiError) as refused:
        parse([field], {"x": raw}, "query")
    their_problem = expected.value.errors()[0]
    told = [(problem["type"], problem["msg"], problem["loc"]) for problem in problems(refused.value)]
    assert told == [(their_problem["type"], their_problem["msg"], ["query", "x"])]


@pytest.mark.parametrize(
    ("field", "raw", "value"),
    [
        (LIMIT, "100", 100),
        (LIMIT, 1, 1),
        (LIMIT, "+7", 7),
        (Flag(name="x"), "YES", True),
        (Flag(name="x"), "off", False),
        (Flag(name="x"), True, True),
        (Fraction(name="x"), 1, 1.0),
        (Choice(name="x", words=("a", "b")), "b", "b"),
        (Many(name="x", of=Text(), high=2), ["a", "b"], ["a", "b"]),
        (Many(name="x", of=Text(), high=2), [], []),
        (Text(name="x"), "山田 🙂", "山田 🙂"),
    ],
)
def test_a_good_value_is_taken_as_its_type(field: Field, raw: Any, value: Any) -> None:
    taken = parse([field], {"x": raw}, "body")["x"]
    assert taken == value
    assert type(taken) is type(value)


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        (LIMIT, True),
        (LIMIT, 1.0),
        (LIMIT, "9" * 19),
        (Fraction(name="x"), True),
        (Fraction(name="x"), float("nan")),
        (Fraction(name="x"), "0.5"),
        (Choice(name="x", words=("a", "b")), ["a"]),
        (Many(name="x", of=Text(), high=2), ["a", "b", "c"]),
        (Many(name="x", of=Text(), high=2), {"0": "a"}),
        (Moment(name="x"), "2030-01-31T12:00:00"),
        (Moment(name="x"), "2030-02-31T12:00:00Z"),
        (Text(name="x"), "half of a pair \ud800"),
        (Text(name="x"), "nothing \x00"),
        (Record(name="x", fields=(Text(name="y"),)), []),
    ],
)
def test_what_only_looks_like_it_is_refused(field: Field, raw: Any) -> None:
    with pytest.raises(ApiError):
        parse([field], {"x": raw}, "body")


def test_every_problem_is_told_at_once_with_its_place() -> None:
    pair = Record(fields=(Text(name="question"), Text(name="answer", low=1)))
    fields = [Many(name="turns", of=pair, high=9), Whole(name="n", low=0, high=1)]
    with pytest.raises(ApiError) as refused:
        parse(fields, {"turns": [{"question": "x", "answer": ""}, {}, 7]}, "body")
    places = [problem["loc"] for problem in problems(refused.value)]
    assert places == [
        ["body", "turns", 0, "answer"],
        ["body", "turns", 1, "question"],
        ["body", "turns", 1, "answer"],
        ["body", "turns", 2],
        ["body", "n"],
    ]


def test_null_means_the_default_and_unknown_fields_are_ignored() -> None:
    fields = [Text(name="title", default="none"), Whole(name="n", low=0, high=9, default=3)]
    assert parse(fields, {"title": None, "colour": "red"}, "body") == {"title": "none", "n": 3}


def test_a_long_wrong_value_is_not_sent_back_whole() -> None:
    with pytest.raises(ApiError) as refused:
        parse([LIMIT], {"x": "y" * 10_000}, "query")
    assert len(str(refused.value.detail)) < 500
