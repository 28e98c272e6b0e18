"""The catalogue: every type has an example that fits, and a schema that other people's tools read."""

import re

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from tenancy.audit.actions import CATALOGUE
from tenancy.webhooks import catalogue
from tenancy.webhooks.catalogue import TYPES, EventType, Unfit


@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
def test_every_example_is_what_its_schema_says(kind: EventType) -> None:
    kind.check(kind.example)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(kind.schema, format_checker=checker).validate(kind.example)
    with pytest.raises(Unfit):
        kind.check({**kind.example, "content": "secret"})


@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
def test_every_type_is_named_and_told_as_people_read(kind: EventType) -> None:
    assert re.fullmatch(r"(billing|organization|memory|webhooks)(\.[a-z_]+){1,2}", kind.name)
    assert kind.sentence.endswith((".", "”."))


def test_no_type_of_memory_has_room_for_content() -> None:
    fields = {name for kind in TYPES.values() if kind.group == "memory.*" for name in kind.fields}
    assert fields == {"session_id", "capsule_id", "capsule_ids", "user_id", "origin", "capsules"}


def test_a_type_of_the_organization_is_called_as_in_the_audit_trail() -> None:
    of_trail = {name for name in TYPES if name.startswith("organization.audit.")}  # about the trail: not in it
    assert {name for name in TYPES if name.startswith("organization.")} - of_trail <= set(CATALOGUE)


def test_an_endpoint_may_ask_for_rooms_and_types_but_for_no_test() -> None:
    assert catalogue.choices()[:3] == ("billing.*", "memory.*", "organization.*")
    assert "webhooks.test" not in catalogue.choices()
    assert "webhooks.*" not in catalogue.choices()
