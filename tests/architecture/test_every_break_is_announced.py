"""A change of the API that breaks clients raises the version and is named in the newest note of docs/api/changes.md."""

import copy
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from tests.architecture.contract import (
    DOCUMENT,
    HEADING,
    NOTES,
    RELEASED,
    breaks,
    complaints,
    contract,
    dump,
    load,
)
from tests.architecture.sources import read

Change = Callable[[dict[str, Any]], object]
SMALL = load("""
info: {version: 1.2.3}
components:
  schemas:
    Tea:
      type: object
      properties:
        id: {type: string, format: uuid, readOnly: true}
        name: {type: string, maxLength: 20, minLength: 1}
        kind: {type: string, enum: [green, black]}
        price: {type: number}
        steeped: {type: array, maxItems: 9, items: {type: object, properties: {minutes: {type: integer}}}}
      required: [id, name]
  responses:
    Problem:
      content: {application/problem+json: {schema: {type: object, properties: {code: {enum: [bad, worse]}}}}}
paths:
  /teas:
    get:
      security: []
      parameters: [{name: limit, in: query, schema: {type: [integer, 'null'], minimum: 1, maximum: 50}}]
      responses:
        '200': {content: {application/json: {schema: {type: array, items: {$ref: '#/components/schemas/Tea'}}}}}
        '400': {$ref: '#/components/responses/Problem'}
    post:
      security: [{apiKey: []}]
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Tea'}}}}
      responses: {'201': {content: {application/json: {schema: {$ref: '#/components/schemas/Tea'}}}}}
""")


def changed(change: Change) -> dict[str, list[str]]:
    """What the small document's contract loses by a change."""
    newer = copy.deepcopy(SMALL)
    change(newer)
    return breaks(contract(SMALL), contract(newer))


def get(document: dict[str, Any]) -> Any:
    return document["paths"]["/teas"]["get"]


def post(document: dict[str, Any]) -> Any:
    return document["paths"]["/teas"]["post"]


def tea(document: dict[str, Any]) -> Any:
    return document["components"]["schemas"]["Tea"]


def field(document: dict[str, Any], name: str) -> Any:
    return tea(document)["properties"][name]


def limit(document: dict[str, Any]) -> Any:
    return get(document)["parameters"][0]


BREAKING: list[tuple[Change, str, str]] = [
    (lambda it: it["paths"]["/teas"].pop("post"), "POST /teas", "is gone"),
    (lambda it: get(it)["parameters"].clear(), "GET /teas", "no longer takes query limit"),
    (lambda it: limit(it).update(required=True), "GET /teas", "now needs query limit"),
    (lambda it: limit(it)["schema"].update(type="integer"), "GET /teas", "no longer takes ['null'] as query limit"),
    (lambda it: limit(it)["schema"].update(maximum=49), "GET /teas", "now takes query limit only with maximum 49"),
    (lambda it: limit(it)["schema"].update(minimum=2), "GET /teas", "now takes query limit only with minimum 2"),
    (
        lambda it: limit(it)["schema"].update(format="int8"),
        "GET /teas",
        "now takes query limit only with format int8",
    ),
    (lambda it: get(it).update(security=[{"apiKey": []}]), "GET /teas", "now needs an API key"),
    (lambda it: get(it)["responses"].pop("400"), "GET /teas", "no longer gives 400"),
    (lambda it: get(it)["responses"].pop("200"), "GET /teas", "no longer gives 200"),
    (lambda it: get(it)["responses"].update({"400": {}}), "GET /teas", "no longer gives 400 as Problem"),
    (lambda it: post(it)["requestBody"].update(required=True), "POST /teas", "now needs body"),
    (lambda it: post(it)["requestBody"]["content"].clear(), "POST /teas", "no longer takes body application/json"),
    (
        lambda it: tea(it)["required"].append("price"),
        "POST /teas",
        "now needs body application/json > price",
    ),
    (
        lambda it: tea(it)["properties"].pop("price"),
        "GET /teas",
        "no longer gives 200 application/json > [] > price",
    ),
    (
        lambda it: tea(it)["required"].remove("id"),
        "GET /teas",
        "may leave out 200 application/json > [] > id",
    ),
    (
        lambda it: field(it, "name").update(type=["string", "null"]),
        "GET /teas",
        "may give ['null'] as 200 application/json > [] > name",
    ),
    (
        lambda it: field(it, "id").pop("format"),
        "GET /teas",
        "no longer gives 200 application/json > [] > id in the format uuid",
    ),
    (
        lambda it: field(it, "kind").update(enum=["green"]),
        "POST /teas",
        "no longer takes ['black'] as body application/json > kind",
    ),
    (
        lambda it: field(it, "name").update(enum=["Earl Grey"]),
        "POST /teas",
        "no longer takes ['any other word'] as body application/json > name",
    ),
    (
        lambda it: field(it, "steeped")["items"]["properties"]["minutes"].update(type="number"),
        "GET /teas",
        "may give ['number'] as 200 application/json > [] > steeped > [] > minutes",
    ),
    (
        lambda it: field(it, "price").update(type="integer"),
        "POST /teas",
        "no longer takes ['number'] as body application/json > price",
    ),
    (
        lambda it: it["components"]["responses"]["Problem"]["content"]["application/problem+json"]["schema"][
            "properties"
        ]["code"].update(enum=["bad", "worst"]),
        "every Problem",
        "no longer gives ['worse'] as application/problem+json > code",
    ),
]


@pytest.mark.parametrize(("change", "operation", "what"), BREAKING, ids=[what for _, _, what in BREAKING])
def test_what_breaks_a_client_is_noticed(change: Change, operation: str, what: str) -> None:
    assert what in changed(change)[operation]


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it["paths"].update({"/cups": copy.deepcopy(it["paths"]["/teas"])}),
        lambda it: get(it)["parameters"].append({"name": "q", "in": "query", "schema": {"type": "string"}}),
        lambda it: get(it)["responses"].update({"404": {"$ref": "#/components/responses/Problem"}}),
        lambda it: limit(it)["schema"].update(maximum=500, minimum=0, type=["integer", "null", "string"]),
        lambda it: limit(it)["schema"].pop("maximum"),
        lambda it: post(it).update(security=[]),
        lambda it: tea(it)["properties"].update(origin={"type": "string"}),
        lambda it: tea(it)["properties"].update(
            pot={"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}
        ),
        lambda it: field(it, "kind")["enum"].append("white"),
        lambda it: field(it, "id").update(description="Its name."),
        lambda it: None,
    ],
)
def test_adding_and_explaining_break_nothing(change: Change) -> None:
    assert changed(change) == {}


def test_every_operation_of_the_real_document_is_watched() -> None:
    whole = contract(load(read(DOCUMENT)))
    assert len(whole["operations"]) >= 40
    assert breaks(whole, whole | {"operations": {}}) == {name: ["is gone"] for name in whole["operations"]}
    assert load(dump(whole)) == whole


def test_a_word_that_it_cannot_weigh_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match=r"query limit has \['multipleOf'\]"):
        changed(lambda it: limit(it)["schema"].update(multipleOf=5))


WORSE = copy.deepcopy(SMALL)
WORSE["paths"]["/teas"].pop("post")
NOTED = "# Changes\n\n## 1.3.0 — 2026-12-01\n\n`POST /teas` is gone.\n\n## 1.2.3 — 2026-11-01\n\nFirst.\n"


@pytest.mark.parametrize(
    ("version", "notes", "remedies"),
    [
        ("1.3.0", NOTED, []),
        ("2.0.0", NOTED, []),
        ("1.2.3", NOTED, ["raise the minor part"]),
        ("1.2.4", NOTED, ["raise the minor part"]),
        ("1.3.0", NOTED.replace("POST", "GET"), ["name `POST /teas` in the newest note"]),
        ("1.3.0", "## 1.3.1 — 2026-12-02\n\nMore.\n\n" + NOTED, ["name `POST /teas` in the newest note"]),
        ("1.3.0", "", ["name `POST /teas` in the newest note"]),
        ("1.2.3", "", ["name `POST /teas` in the newest note", "raise the minor part"]),
    ],
)
def test_a_break_asks_for_a_note_and_a_version(version: str, notes: str, remedies: list[str]) -> None:
    found = complaints(contract(SMALL), contract(WORSE | {"info": {"version": version}}), notes)
    assert len(found) == len(remedies)
    assert all(remedy in complaint for remedy, complaint in zip(remedies, found, strict=True))


def test_nothing_that_is_released_was_broken_without_a_note() -> None:
    found = complaints(load(read(RELEASED)), contract(load(read(DOCUMENT))), read(NOTES))
    assert not found, "\n".join(found)


def test_the_newest_note_is_of_the_documents_version_and_the_released_one_has_its_own() -> None:
    notes = [(tuple(map(int, found[:3])), date.fromisoformat(found[3])) for found in HEADING.findall(read(NOTES))]
    assert len(notes) == read(NOTES).count("\n## "), f"A heading in {NOTES} reads `## 1.2.3 — 2026-12-31`."
    assert notes == sorted(notes, reverse=True), f"{NOTES} has the newest first."
    versions = [".".join(map(str, version)) for version, _ in notes]
    assert versions[0] == load(read(DOCUMENT))["info"]["version"], f"Write a note for this version in {NOTES}."
    assert load(read(RELEASED))["version"] in versions
