"""Filters of SQL find what the library's own evaluation of the same filter finds, whatever the filter."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scim2_models import Resource, SearchRequest
from scim2_models.path import (
    AttrPath,
    CompareOperator,
    Comparison,
    FilterNode,
    LogicalExpr,
    LogicalOperator,
    Not,
    Present,
    ValuePath,
)

from tenancy.scim import provisioning
from tenancy.scim.folding import fold
from tenancy.scim.names import name_key
from tenancy.scim.resources import ENTERPRISE, PROVIDER, USER_TYPE, UserModel
from tenancy.scim.storage import DirectoryStorage
from tenancy.scope import scope
from tests.factories import Tenant
from tests.tenancy.scim.directory_things import connected

USERS = 25
TEXTS = [
    "Ada",
    "ada",
    "ADA",
    "Bob",
    "é",
    "e\u0301",
    "İ",
    "Σ",
    "ß",
    "x_%",
    'a"b',
    "a\\b",
    "'; --",
    "",
    " ",
    "日本",
    "10",
]
CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
SINGLE = ["userName", "externalId", "displayName", "TITLE", f"{CORE}:title", "name.givenName", "name.familyName"]
SINGLE += [f"{ENTERPRISE}:department", f"{ENTERPRISE}:employeeNumber", f"{ENTERPRISE}:manager.value"]
MANY = ["emails", "emails.value", "emails.type", "phoneNumbers.value", "emails.display", "roles.value", "groups.value"]
COMPLEX = ["name", "emails", "addresses", f"{ENTERPRISE}:manager", "groups"]
INNER = ["value", "type", "display", "nothing"]
META = ["meta.resourceType", "meta.version", "id"]
MOMENTS = ["2000-01-01T00:00:00Z", "2100-01-01T00:00:00+02:00", None]
EQUAL = [CompareOperator.eq, CompareOperator.ne]


def path_of(text: str) -> AttrPath:
    """The path that a text says."""
    uri, _, name = text.rpartition(":")
    attr, _, sub = name.partition(".")
    return AttrPath(attr, sub or None, uri or None)


def compare(paths: list[str], values: st.SearchStrategy[Any], ops: Any = CompareOperator) -> st.SearchStrategy[Any]:
    """Comparisons of these attributes with such values."""
    return st.builds(Comparison, st.sampled_from(paths).map(path_of), st.sampled_from(list(ops)), values)


def joined(nodes: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """`not`, `and`, `or` of such filters."""
    several = st.lists(nodes, min_size=2, max_size=3).map(tuple)
    return st.builds(Not, nodes) | st.builds(LogicalExpr, st.sampled_from(LogicalOperator), several)


def present(paths: list[str]) -> st.SearchStrategy[Any]:
    """`pr` of these attributes."""
    return st.builds(Present, st.sampled_from(paths).map(path_of))


maybe = st.sampled_from([None, *TEXTS])
flags = compare(["primary"], st.booleans(), EQUAL)
within = st.recursive(compare(INNER, maybe) | flags | present(INNER), joined, max_leaves=3)
filters = st.recursive(
    compare([*SINGLE, *MANY], maybe)
    | compare(["active", "emails.primary"], st.sampled_from([True, False, None]), EQUAL)
    | compare(COMPLEX, maybe, EQUAL)
    | compare(["meta.created", "meta.lastModified"], st.sampled_from(MOMENTS))
    | compare(META, st.sampled_from(["User", 'W/"1"', "0", CORE, None]))
    | present([*SINGLE, *MANY, *COMPLEX, *META, "active", "meta.created"])
    | st.builds(ValuePath, st.sampled_from(["emails", "phoneNumbers", "roles", "addresses"]).map(path_of), within),
    joined,
    max_leaves=5,
)


def somebody(number: int, dice: random.Random) -> dict[str, Any]:
    """A user with some of the attributes, and texts that others have too."""

    def text() -> str:
        return dice.choice(TEXTS)

    def entries() -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for _ in range(dice.randrange(3)):
            entry: dict[str, Any] = {"value": text(), "type": dice.choice(["work", "HOME", "x"]), "display": text()}
            made.append({name: value for name, value in entry.items() if dice.random() < 0.7})
        if made and dice.random() < 0.5:
            made[0]["primary"] = dice.random() < 0.8
        return made

    whole = {
        "externalId": str(number),
        "displayName": text(),
        "title": text(),
        "active": dice.random() < 0.5,
        "name": {"givenName": text(), "familyName": text()},
        "emails": entries(),
        "phoneNumbers": entries(),
        "roles": entries(),
        ENTERPRISE: {"department": text(), "employeeNumber": text(), "manager": text()},
    }
    some = {name: value for name, value in whole.items() if value and dice.random() < 0.7}
    return {"userName": f"{number % 7}{text()}{number}", **some}


@pytest.fixture
def storage(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[DirectoryStorage]:
    """A directory's storage, whose users become nobody's members."""
    monkeypatch.setattr(provisioning, "provision", lambda row, actor: None)
    _, principal, _ = connected(tenant)
    with scope(tenant.organization), PROVIDER:
        yield DirectoryStorage(principal)


@pytest.fixture
def stored(storage: DirectoryStorage) -> list[Resource[Any]]:
    """Users of the directory, as they are kept."""
    dice = random.Random(8)
    made = [storage.create(USER_TYPE, UserModel.model_validate(somebody(n, dice))) for n in range(USERS)]
    return [storage.get(USER_TYPE, str(one.id)) for one in made]


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(node=filters)
def test_sql_agrees_with_the_library(storage: DirectoryStorage, stored: list[Resource[Any]], node: FilterNode) -> None:
    try:
        request = SearchRequest[UserModel].model_validate({"filter": str(node)})
    except ValidationError:
        return  # what the library refuses does not come to us
    found = {one.id for one in storage.search([USER_TYPE], request).resources}
    assert request.filter is not None
    assert found == {one.id for one in stored if request.filter.match(one)}, str(node)


def test_schemas_are_those_that_a_user_is_shown_with(storage: DirectoryStorage, stored: list[Resource[Any]]) -> None:
    request = SearchRequest[UserModel].model_validate({"filter": f'schemas eq "{ENTERPRISE}"'})
    page = storage.documents([USER_TYPE], request, None)
    assert 0 < len(page.documents) < len(stored)
    assert all(ENTERPRISE in one["schemas"] and ENTERPRISE in one for one in page.documents)
    rest = SearchRequest[UserModel].model_validate({"filter": f'not (schemas[value eq "{ENTERPRISE}"])'})
    assert page.total is not None
    assert storage.documents([USER_TYPE], rest, None).total == len(stored) - page.total


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_names_are_compared_as_the_library_compares_them(text: str) -> None:
    assert name_key(text) == fold(text)
