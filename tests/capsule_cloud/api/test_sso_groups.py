"""Groups over the API: a preview first, then exactly that, and nothing of anybody else's."""

from typing import Any

from tenancy.roles import Role
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, add_member
from tests.tenancy.groups.conftest import roles, say

STAFF = {"group": "Staff", "role": "viewer"}


def preview(api: Api, *changes: dict[str, Any]) -> Any:
    """What these edits would do."""
    answer = api.post("/v1/sso/groups/preview", {"changes": list(changes)})
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_a_preview_is_confirmed_by_its_fingerprint_and_listed_then(api: Api, tenant: Tenant) -> None:
    ada = add_member(tenant, Role.ADMIN)
    say(tenant, ada, "Staff", " Odd ")
    project = str(tenant.project.pk)
    edits = [STAFF, {"group": " Odd ", "role": "member", "project_id": project}]
    seen = preview(api, *edits)
    [one] = seen["changes"]
    assert (seen["managed"], seen["keys_revoked"], seen["kept_owner"]) == (1, 0, None)
    assert one == {
        "user_id": str(ada.pk),
        "email": ada.email,
        "role_before": "admin",
        "role_after": "viewer",
        "projects": [{"project_id": project, "before": None, "after": "member"}],
        "keys_revoked": 0,
        "because": "In Staff, says Okta.",
    }
    assert roles(tenant)[ada.pk] == Role.ADMIN
    done = api.post("/v1/sso/groups", {"changes": edits, "fingerprint": seen["fingerprint"]})
    assert (done.status_code, done.json()) == (200, seen)
    assert roles(tenant)[ada.pk] == Role.VIEWER
    listed = api.get("/v1/sso/groups").json()["data"]
    assert [(row["group"], row["role"], row["project_id"], row["members"]) for row in listed] == [
        ("Staff", "viewer", None, 1),
        (" Odd ", "member", project, 1),
    ]
    gone = {"group": "Staff", "role": None}
    seen = preview(api, gone)
    assert api.post("/v1/sso/groups", {"changes": [gone], "fingerprint": seen["fingerprint"]}).status_code == 200
    assert len(api.get("/v1/sso/groups").json()["data"]) == 1


def test_what_changed_meanwhile_is_a_conflict_and_changes_nothing(api: Api, tenant: Tenant) -> None:
    say(tenant, tenant.owner, "Other")
    seen = preview(api, STAFF)
    say(tenant, add_member(tenant, Role.ADMIN), "Staff")
    answer = api.post("/v1/sso/groups", {"changes": [STAFF], "fingerprint": seen["fingerprint"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert Role.VIEWER not in roles(tenant).values()


def test_a_key_makes_no_owners(api: Api) -> None:
    answer = api.post("/v1/sso/groups/preview", {"changes": [{"group": "Bosses", "role": "owner"}]})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_project_of_somebody_else_is_none(api: Api, stranger: Tenant) -> None:
    edit = {"group": "Staff", "role": "viewer", "project_id": str(stranger.project.pk)}
    assert api.post("/v1/sso/groups/preview", {"changes": [edit]}).status_code == 404


def test_too_many_edits_and_wrong_ones_are_named(api: Api) -> None:
    for changes in ([], [STAFF] * 101, [{"group": "", "role": "viewer"}], [{"group": "a", "role": "wizard"}]):
        assert api.post("/v1/sso/groups/preview", {"changes": changes}).status_code == 422
