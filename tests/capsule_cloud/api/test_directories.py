"""Directories over the API: added, changed, their tokens shown once, their log with what helps."""

from typing import Any
from uuid import uuid4

import pytest

from tenancy.roles import Role
from tenancy.scim import exchanges
from tenancy.scim.directories import tokens
from tenancy.scim.directories.tokens import InvalidToken
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, add_member

PATH = "/v1/scim/directories"


@pytest.fixture
def made(api: Api) -> dict[str, Any]:
    """A directory that was added just now, with its first token."""
    answer = api.post(PATH, {"name": "Entra", "kind": "entra"})
    assert answer.status_code == 201, answer.content
    added: dict[str, Any] = answer.json()
    return added


def is_open(secret: str) -> bool:
    try:
        return bool(tokens.authenticate(f"Bearer {secret}"))
    except InvalidToken:
        return False


def test_a_directory_comes_with_a_token_that_is_told_once(api: Api, made: dict[str, Any]) -> None:
    token = made.pop("token")
    assert is_open(token["secret"])
    assert token["hint"] == token["secret"][:10]
    assert (made["kind"], made["default_role"], made["is_on"], made["users"]) == ("entra", "viewer", True, 0)
    kept = api.get(f"{PATH}/{made['id']}").json()
    assert kept == made | {"last_request_at": kept["last_request_at"]}
    assert api.get(PATH).json() == {"data": [kept], "next_cursor": None}
    [listed] = api.get(f"{PATH}/{made['id']}/tokens").json()["data"]
    assert "secret" not in listed


def test_a_change_leaves_the_rest_and_a_key_makes_nobody_an_owner(
    api: Api, tenant: Tenant, made: dict[str, Any]
) -> None:
    path, bob = f"{PATH}/{made['id']}", add_member(tenant, Role.MEMBER)
    assert api.patch(path, {"keys_go_to": str(bob.pk), "is_on": False}).json()["keys_go_to"] == str(bob.pk)
    assert not is_open(made["token"]["secret"])
    changed = api.patch(path, {"is_on": True, "keys_go_to": None}).json()
    assert (changed["name"], changed["is_on"], changed["keys_go_to"]) == ("Entra", True, None)
    assert api.patch(path, {"default_role": "owner"}).status_code == 403
    assert api.patch(path, {"keys_go_to": str(uuid4())}).status_code == 422
    assert api.patch(f"{PATH}/{uuid4()}", {}).status_code == 404


def test_tokens_are_made_rotated_and_revoked(api: Api, made: dict[str, Any]) -> None:
    path, first = f"{PATH}/{made['id']}/tokens", made["token"]
    second = api.post(path, {"expires_at": "2999-01-01T00:00:00Z"}).json()
    rotated = api.post(f"{path}/{second['id']}/rotate", {"overlap_seconds": 0}).json()
    assert [is_open(one["secret"]) for one in (first, second, rotated)] == [True, False, True]
    assert api.delete(f"{path}/{first['id']}").status_code == 204
    assert api.delete(f"{path}/{first['id']}").status_code == 404
    assert not is_open(first["secret"])
    assert [one["id"] for one in api.get(path).json()["data"]] == [rotated["id"], second["id"], first["id"]]
    assert api.post(path, {"expires_at": "2001-01-01T00:00:00Z"}).status_code == 422


def test_the_log_says_what_failed_and_what_helps(api: Api, made: dict[str, Any]) -> None:
    who = tokens.authenticate(f"Bearer {made['token']['secret']}")
    for status, kind in ((200, "User"), (404, "Group")):
        exchanges.record(
            principal=who, method="GET", path="/scim/v2/x", status=status, resource_type=kind, answer={"a": 1}
        )
    path = f"{PATH}/{made['id']}/exchanges"
    failed, done = api.get(path).json()["data"]
    assert (failed["kind"], done["kind"], done["reason"], done["answer"]) == ("failure", "read", None, {"a": 1})
    assert failed["reason"].startswith("The directory asked for a person or group that is not here")
    assert failed["remedy"]
    first = api.get(f"{path}?limit=1").json()
    assert api.get(f"{path}?limit=1&cursor={first['next_cursor']}").json()["data"] == [done]
    for query, found in (("kind=failure", [failed]), ("resource=User", [done]), ("since=2999-01-01T00:00:00Z", [])):
        assert api.get(f"{path}?{query}").json()["data"] == found
    assert api.get(f"{path}?kind=odd").status_code == 422


def test_a_removed_directory_is_gone(api: Api, made: dict[str, Any]) -> None:
    path = f"{PATH}/{made['id']}"
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert not is_open(made["token"]["secret"])
