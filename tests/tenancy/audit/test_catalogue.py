"""The catalogue: every action declares its fields, refuses others, and lets no secret into an event."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from django.conf import LazySettings
from hypothesis import given
from hypothesis import strategies as st

from tenancy.audit import actions
from tenancy.audit.actions import CATALOGUE, Action, Unfit
from tenancy.audit.catalogue.action import HIDDEN, SECRET, Schema, plain
from tenancy.audit.services import SYSTEM, Target, record
from tenancy.scope import scope
from tests.factories import Tenant

THING = Target("project", "p1", "Support Bot")
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=12, max_size=40)


def fitting(schema: Schema) -> Any:
    """A value that a field's schema lets in."""
    if "anyOf" in schema:
        return fitting(schema["anyOf"][0])
    if "const" in schema:
        return schema["const"]
    kind = schema["type"][0] if isinstance(schema["type"], list) else schema["type"]
    if kind == "string":
        return {
            "date-time": "2026-11-29T12:00:00+00:00",
            "uuid": "0198f0a1-5c1e-7d3a-9b1f-3f2c6a7d8e90",
        }.get(schema.get("format", ""), "text")
    return {"integer": 1, "boolean": True, "array": [], "object": {}}[kind]


def example(action: Action) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Metadata and changes with every field that the action declares."""
    metadata = {name: fitting(schema) for name, schema in {**action.has, **action.may}.items()}
    return metadata, {name: [None, fitting(schema)] for name, schema in action.changes.items()}


@pytest.mark.parametrize("action", CATALOGUE.values(), ids=CATALOGUE)
def test_every_action_has_a_schema_that_other_peoples_tools_read(action: Action) -> None:
    jsonschema.Draft202012Validator.check_schema(action.schema)
    metadata, changes = example(action)
    jsonschema.Draft202012Validator(action.schema).validate({"metadata": metadata, "changes": changes})
    action.check(metadata, changes)
    for place in ("metadata", "changes"):
        more: dict[str, Any] = {"metadata": dict(metadata), "changes": dict(changes)}
        more[place]["another"] = "x"
        assert not jsonschema.Draft202012Validator(action.schema).is_valid(more)
        with pytest.raises(Unfit, match="another"):
            action.check(more["metadata"], more["changes"])


@pytest.mark.parametrize("action", CATALOGUE.values(), ids=CATALOGUE)
def test_no_action_has_room_for_a_float(action: Action) -> None:
    assert '"number"' not in json.dumps(action.schema)


@pytest.mark.parametrize("action", CATALOGUE.values(), ids=CATALOGUE)
def test_no_field_is_left_out(action: Action) -> None:
    metadata, _ = example(action)
    for name in action.has:
        with pytest.raises(Unfit, match=name):
            action.check({key: value for key, value in metadata.items() if key != name})


def test_in_production_unknown_fields_are_still_refused(settings: LazySettings) -> None:
    settings.AUDIT_CHECKS_VALUES = False
    actions.MEMBER_REMOVED.check({"keys_revoked": "many"})  # values were checked wherever a test has recorded one
    with pytest.raises(Unfit):
        actions.MEMBER_REMOVED.check({"keys_revoked": 1, "password": "x"})
    with pytest.raises(Unfit):
        actions.MEMBER_REMOVED.check({"keys_revoked": 1}, {"password": [None, "x"]})


def test_what_an_action_does_not_declare_is_not_recorded(tenant: Tenant) -> None:
    with scope(tenant.organization), pytest.raises(Unfit):
        record(action=actions.PROJECT_CREATED, actor=SYSTEM, target=THING, metadata={"token": "x"})


@pytest.mark.parametrize(
    "secret",
    [
        "cmk_8aWeQq5nbYdCSSRo4ObJOvSmY2j6WKkV4CL9Qb",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "rk_test_4eC39HqLyjWDarjtT1",
        "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP",
    ],
)
def test_what_looks_like_a_secret_is_refused_wherever_it_stands(secret: str) -> None:
    with pytest.raises(Unfit, match="secret"):
        actions.WEBHOOK_UPDATED.check({}, {"description": [None, f"use {secret}"]})
    with pytest.raises(Unfit, match="secret"):
        actions.BILLING_COUPON_REDEEMED.check({"code": secret})


SECRET_FIELDS = [
    (action, name) for action in CATALOGUE.values() for name, schema in action.changes.items() if schema is SECRET
]


@given(before=st.none() | WORDS, after=st.none() | WORDS, at=st.integers(0, 10**6))
def test_no_change_of_a_secret_says_what_it_is(before: str | None, after: str | None, at: int) -> None:
    action, name = SECRET_FIELDS[at % len(SECRET_FIELDS)]
    said = action.changed({name: before}, {name: after})
    if before == after:
        assert said == {}
        return
    assert said == {name: [None if one is None else HIDDEN for one in (before, after)]}
    assert not any(one and one in json.dumps(said, ensure_ascii=False) for one in (before, after))


class Colour(StrEnum):
    """A word of an enumeration."""

    RED = "red"


@given(
    before=st.dictionaries(st.sampled_from(["name", "cors_origins", "idle_seal_minutes"]), st.none() | st.integers()),
    after=st.dictionaries(st.sampled_from(["name", "cors_origins", "idle_seal_minutes"]), st.none() | st.integers()),
)
def test_changes_are_what_differs_and_nothing_else(before: dict[str, Any], after: dict[str, Any]) -> None:
    said = actions.PROJECT_UPDATED.changed(before, after)
    for name in {*before, *after}:
        pair = [before.get(name), after.get(name)]
        assert said.get(name, pair if pair[0] == pair[1] else None) == pair
        assert (name in said) == (pair[0] != pair[1])


def test_a_change_of_a_field_that_is_not_declared_is_refused() -> None:
    with pytest.raises(Unfit, match="slug"):
        actions.PROJECT_UPDATED.changed({"slug": "a"}, {"slug": "b"})


def test_a_thing_takes_on_what_is_wanted_and_the_event_says_what_it_was() -> None:
    class Thing:
        name, is_mfa_required = "Old", True

    thing = Thing()
    assert actions.ORGANIZATION_UPDATED.change(thing, {"name": "New", "is_mfa_required": True}) == {
        "name": ["Old", "New"]
    }
    assert thing.name == "New"


def test_values_become_json() -> None:
    at = datetime(2026, 11, 29, 12, tzinfo=UTC)
    ids = [UUID(int=1)]
    assert plain([at, *ids, Colour.RED, ("a",), None, 1]) == [
        "2026-11-29T12:00:00+00:00",
        str(UUID(int=1)),
        "red",
        ["a"],
        None,
        1,
    ]


def test_fields_that_name_a_person_are_marked() -> None:
    assert actions.MEMORY_CAPSULE_FORKED.personal == {"from_user_id": "end_user", "user_id": "end_user"}
    assert actions.PROJECT_CREATED.personal == {}


def test_actions_are_compared_by_name() -> None:
    assert len({actions.KEY_CREATED, actions.KEY_CREATED, actions.KEY_REVOKED}) == 2
