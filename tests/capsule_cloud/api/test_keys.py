"""/v1/keys: a key manages keys, and never gives more than it has."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from tenancy import access
from tenancy.audit.models import AuditEvent
from tenancy.models import ApiKey
from tenancy.roles import KeyScope, Role
from tenancy.scope import scope
from tenancy.services import keys
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant


def key_with(api: Api, *scopes: str, **limits: Any) -> tuple[ApiKey, dict[str, str]]:
    """Another key of the tenant's owner, and the header to call with it."""
    with scope(api.tenant.organization):
        maker = keys.Maker(api.tenant.actor, user=api.tenant.owner, role=Role.OWNER)
        made = keys.create(maker=maker, project_id=api.tenant.project.pk, name="Other", scopes=list(scopes), **limits)
    return made.key, {"Authorization": f"Bearer {made.secret}"}


def test_a_new_key_is_shown_once_and_works_at_once(api: Api) -> None:
    answer = api.post("/v1/keys", {"name": "CI", "scopes": ["org:read", "memory:read"]})
    assert answer.status_code == 201
    made = answer.json()
    assert made["secret"].startswith(made["hint"])
    assert made["parent_id"] == str(api.tenant.key.pk)
    assert api.get("/v1/organization", Authorization=f"Bearer {made['secret']}").status_code == 200
    shown = api.get(f"/v1/keys/{made['id']}").json()
    assert made["secret"] not in str(shown)
    assert shown == {name: value for name, value in made.items() if name != "secret"} | {
        "last_used_at": shown["last_used_at"]
    }
    with scope(api.tenant.organization):
        assert made["secret"] not in str(list(AuditEvent.objects.values()))


@pytest.mark.parametrize("relation", ["child", "sibling"])
def test_a_new_key_never_outranks_or_outlives_its_maker(api: Api, relation: str) -> None:
    ends = timezone.now() + timedelta(days=1)
    own = {"expires_at": ends, "requests_per_minute": 10, "allowed_cidrs": ["127.0.0.0/8"]}
    _, caller = key_with(api, "keys:write", "memory:read", **own)
    body = {"name": "New", "scopes": ["memory:read"], "relation": relation}
    for more in (
        {"scopes": ["memory:write"]},
        {"expires_at": (ends + timedelta(days=1)).isoformat()},
        {"requests_per_minute": 11},
        {"allowed_cidrs": ["10.0.0.0/8"]},
    ):
        answer = api.post("/v1/keys", body | more, **caller)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), more
    made = api.post("/v1/keys", body, **caller).json()
    assert made["expires_at"] == ends.isoformat().replace("+00:00", "Z")
    assert (made["requests_per_minute"], made["allowed_cidrs"]) == (10, ["127.0.0.0/8"])


def test_a_child_ends_with_its_maker_and_a_sibling_goes_on(api: Api) -> None:
    caller, header = key_with(api, "keys:write", "org:read")
    secrets = {
        relation: api.post("/v1/keys", {"name": "New", "scopes": ["org:read"], "relation": relation}, **header).json()
        for relation in ("child", "sibling")
    }
    assert api.delete(f"/v1/keys/{caller.pk}", **header).json() == {"id": str(caller.pk), "keys_revoked": 2}
    access.reset_key_cache()
    answers = {
        relation: api.get("/v1/organization", Authorization=f"Bearer {made['secret']}").status_code
        for relation, made in secrets.items()
    }
    assert answers == {"child": 401, "sibling": 200}


def test_a_rotated_key_works_for_the_overlap_beside_its_successor(api: Api) -> None:
    caller, header = key_with(api, "keys:write", "org:read")
    answer = api.post(f"/v1/keys/{caller.pk}/rotate", {"overlap_seconds": 60}, **header)
    assert answer.status_code == 201
    access.reset_key_cache()
    for headers in (header, {"Authorization": f"Bearer {answer.json()['secret']}"}):
        assert api.get("/v1/organization", **headers).status_code == 200
    old = api.get(f"/v1/keys/{caller.pk}").json()
    assert old["successor_id"] == answer.json()["id"]
    assert old["expires_at"] is not None


def test_a_rotation_without_overlap_ends_the_old_key_at_once(api: Api) -> None:
    caller, header = key_with(api, "keys:write", "org:read")
    api.post(f"/v1/keys/{caller.pk}/rotate", {"overlap_seconds": 0}, **header)
    access.reset_key_cache()
    assert api.get("/v1/organization", **header).status_code == 401


def test_a_key_neither_rotates_nor_revokes_a_key_that_is_not_below_it(api: Api) -> None:
    caller, header = key_with(api, "keys:write")
    answer = api.post(f"/v1/keys/{api.tenant.key.pk}/rotate", **header)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert api.delete(f"/v1/keys/{api.tenant.key.pk}", **header).status_code == 404
    child = api.post("/v1/keys", {"name": "Child", "scopes": ["keys:write"]}, **header).json()
    assert api.post(f"/v1/keys/{child['id']}/rotate", **header).status_code == 201
    up = {"Authorization": f"Bearer {child['secret']}"}
    assert api.post(f"/v1/keys/{caller.pk}/rotate", **up).status_code == 404


@pytest.mark.parametrize("overlap", [-1, 30 * 86400 + 1, "soon", None, 1.5])
def test_an_overlap_out_of_bounds_is_refused(api: Api, overlap: object) -> None:
    answer = api.post(f"/v1/keys/{api.tenant.key.pk}/rotate", {"overlap_seconds": overlap})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "overlap_seconds")


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": []},
        {"scopes": ["root"]},
        {"name": " "},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"expires_at": "tomorrow"},
        {"requests_per_minute": 0},
        {"allowed_cidrs": ["everywhere"]},
        {"relation": "parent"},
    ],
)
def test_a_wrong_field_is_named(api: Api, wrong: dict[str, Any]) -> None:
    answer = api.post("/v1/keys", {"name": "New", "scopes": ["memory:read"]} | wrong)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.json()["errors"][0]["field"].partition(".")[0] == next(iter(wrong))


def test_the_list_shows_the_living_newest_first(api: Api) -> None:
    made = [api.post("/v1/keys", {"name": f"K{n}", "scopes": ["memory:read"]}).json() for n in range(3)]
    api.delete(f"/v1/keys/{made[1]['id']}")
    rows = api.get("/v1/keys?limit=2").json()
    assert [row["name"] for row in rows["data"]] == ["K2", "K0"]
    rest = api.get(f"/v1/keys?limit=2&cursor={rows['next_cursor']}").json()
    assert ([row["name"] for row in rest["data"]], rest["next_cursor"]) == (["Test"], None)


def test_a_strangers_key_does_not_exist(api: Api, stranger: Tenant) -> None:
    for key_id in (stranger.key.pk, uuid4()):
        assert api.get(f"/v1/keys/{key_id}").status_code == 404
        assert api.delete(f"/v1/keys/{key_id}").status_code == 404
        assert api.post(f"/v1/keys/{key_id}/rotate").status_code == 404
    assert Api(stranger).get("/v1/organization").status_code == 200


def test_every_scope_of_a_key_is_one_that_it_was_given(api: Api) -> None:
    _, header = key_with(api, KeyScope.ORG_READ)
    answer = api.post("/v1/keys", {"name": "New", "scopes": ["org:read"]}, **header)
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
