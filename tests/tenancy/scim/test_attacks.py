"""What a directory may not do is refused, changes nothing, and is told to its organization."""

import json
from typing import Any

import pytest

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.models import Membership, User
from tenancy.roles import Role
from tenancy.scim.filters import MOST_CHARACTERS, MOST_COMPARISONS
from tenancy.scim.models import DirectoryGroup, DirectoryUser
from tenancy.scim.resources import MOST_BYTES
from tenancy.scope import scope
from tests.factories import Tenant
from tests.tenancy.scim.conftest import GROUP, USER, Idp
from tests.tenancy.scim.directory_things import connected

INJECTIONS = [
    'userName eq "x" or 1 eq 1',
    "userName eq 'x'",
    'userName eq "x\' OR TRUE --"',
    'userName eq "x"; DROP TABLE scim_directoryuser',
    'userName eq "x\\" or userName pr or userName eq \\"y"',
    'emails[type eq "work\' OR TRUE --"]',
    'displayName co "%s %(x)s {} $1"',
    'urn:ietf:params:scim:schemas:core:2.0:User:userName) OR (TRUE eq "x"',
    'search eq "x"',
    'name_key eq "x"',
    "organization_id pr",
    'userName eq "\\u0000"',
    'userName eq "\\ud800"',
]
BOMBS = [
    "(" * 5_000 + "userName pr" + ")" * 5_000,
    "not (" * 1_000 + "userName pr" + ")" * 1_000,
    " or ".join(["userName pr"] * (MOST_COMPARISONS + 1)),
    f'userName eq "{"x" * MOST_CHARACTERS}"',
    "[" * 3_000,
    "emails[" * 500 + "type pr" + "]" * 500,
]


def told(idp: Idp) -> list[dict[str, Any]]:
    """What the organization was told of refused requests."""
    with scope(idp.tenant.organization):
        events = AuditEvent.objects.filter(action=actions.DIRECTORY_REFUSED.name)
        return [json.loads(event.body)["metadata"] for event in events]


def state(idp: Idp) -> Any:
    """Everything that a directory could change."""
    with scope(idp.tenant.organization):
        return (
            list(DirectoryUser.objects.order_by("id").values()),
            list(DirectoryGroup.objects.order_by("id").values()),
            list(Membership.objects.order_by("id").values("user_id", "role")),
            list(User.objects.filter(pk__in=Membership.objects.values("user_id")).order_by("id").values()),
        )


def test_another_organizations_things_are_not_there(idp: Idp, strange_idp: Idp) -> None:
    user, group = idp.user("ada"), idp.group("Team")
    before = state(idp)
    change = {"op": "replace", "path": "displayName", "value": "Taken"}
    for path in (f"/Users/{user['id']}", f"/Groups/{group['id']}"):
        strange_idp("GET", path, status=404)
        strange_idp.patch(path, change, status=404)
        strange_idp("PUT", path, {"schemas": [USER], "userName": "x", "displayName": "x"}, 404)
        strange_idp("DELETE", path, status=404)
    for scim_filter in (f'id eq "{user["id"]}"', f'userName eq "{user["userName"]}" or userName pr', "id pr"):
        assert strange_idp.found("/Users", scim_filter) == []
    assert strange_idp.found("", f'members.value eq "{user["id"]}" or groups.value eq "{group["id"]}"') == []
    assert state(idp) == before
    assert {one["status"] for one in told(strange_idp)} == {404}


def test_a_directory_sees_nothing_of_another_one_of_its_organization(idp: Idp) -> None:
    user, group = idp.user("ada"), idp.group("Team")
    directory, principal, secret = connected(idp.tenant, name="Entra ID", kind="entra")
    other = Idp(idp.tenant, directory, principal, secret, idp.domain)
    assert other("GET", "/Users", status=200).data["totalResults"] == 0
    other("GET", f"/Users/{user['id']}", status=404)
    other("DELETE", f"/Groups/{group['id']}", status=404)
    own = other.group("Own")
    added = {"op": "add", "path": "members", "value": [{"value": user["id"]}]}
    other.patch(f"/Groups/{own['id']}", added, status=400)
    assert other.found("/Users", f'userName eq "{user["userName"]}"') == []
    assert other.found("/Users", f'emails.value eq "{user["userName"]}"') == []


@pytest.mark.parametrize("scim_filter", INJECTIONS)
def test_a_filter_adds_no_sql(idp: Idp, strange_idp: Idp, scim_filter: str) -> None:
    strange_idp.user("ada")
    before = state(idp)
    search = {"filter": scim_filter}
    answer = idp("POST", "/Users/.search", search)
    assert answer.status_code in {200, 400}
    if answer.status_code == 400:
        assert answer.data["scimType"] == "invalidFilter"
        assert [one["code"] for one in told(idp)] == ["invalidFilter"]
    else:
        assert answer.data["Resources"] == []
    assert state(idp) == before


@pytest.mark.parametrize("scim_filter", BOMBS, ids=range(len(BOMBS)))
def test_a_filter_that_nobody_needs_is_refused(idp: Idp, scim_filter: str) -> None:
    refused = idp("POST", "/Users/.search", {"filter": scim_filter}, 400).data
    assert refused["scimType"] == "invalidFilter"
    assert told(idp) == [{"method": "POST", "path": "/Users", "status": 400, "code": "invalidFilter"}]


def test_json_and_paths_of_any_depth_are_refused(idp: Idp) -> None:
    made = idp.user()
    before = state(idp)
    deep = b'{"schemas":["' + USER.encode() + b'"],"userName":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    idp("POST", "/Users", deep, 400)
    path = "emails[" + "not (" * 200 + "type pr" + ")" * 200 + "].value"
    idp.patch(f"/Users/{made['id']}", {"op": "replace", "path": path, "value": "x"}, status=400)
    assert state(idp) == before


def test_ten_megabytes_are_not_read(idp: Idp) -> None:
    body = {"schemas": [USER], "userName": f"ada@{idp.domain}", "title": "x" * 10 * 2**20}
    assert f"{MOST_BYTES:,}" in idp("POST", "/Users", body, 413).data["detail"]
    with scope(idp.tenant.organization):
        assert not DirectoryUser.objects.exists()
    assert told(idp) == [{"method": "POST", "path": "/Users", "status": 413, "code": ""}]


def test_what_a_directory_says_of_rights_gives_none(idp: Idp) -> None:
    grab = {
        "roles": [{"value": "owner", "primary": True}],
        "entitlements": [{"value": "owner"}],
        "role": "owner",
        "is_staff": True,
        "isStaff": True,
        "is_superuser": True,
        "organization_id": "01a22de1-b0d4-7010-8886-6b5fc8671b1f",
        "user_id": str(idp.tenant.owner.pk),
        "id": str(idp.tenant.owner.pk),
        "meta": {"version": 'W/"9"', "created": "2000-01-01T00:00:00Z"},
        "groups": [{"value": "admins"}],
    }
    made = idp.user("ada", **grab)
    wanted = [{"op": "replace", "path": name, "value": value} for name, value in grab.items()]
    for change in wanted:
        idp.patch(f"/Users/{made['id']}", change)
    idp("PUT", f"/Users/{made['id']}", {**made, **grab}, 200)
    with scope(idp.tenant.organization):
        row = DirectoryUser.objects.select_related("user").get()
        assert row.user is not None
        assert (str(row.pk), row.directory_id) == (made["id"], idp.directory.pk)
        assert (row.user.is_staff, row.user.is_superuser) == (False, False)
        assert Membership.objects.get(user=row.user).role == Role.VIEWER
        assert Membership.objects.get(user=idp.tenant.owner).role == Role.OWNER
        events = AuditEvent.objects.filter(action=actions.RIGHTS_PASSED_OVER.name).order_by("id")
        heard = [(event.metadata["method"], event.metadata["attributes"]) for event in events]
    assert made["id"] != grab["id"]
    assert made["meta"]["version"] == 'W/"1"'
    names = ["entitlements", "isStaff", "is_staff", "is_superuser", "role", "roles"]
    assert heard[:3] == [("POST", names), ("PATCH", ["roles"]), ("PATCH", ["entitlements"])]


def test_the_last_owner_stays(idp: Idp, tenant: Tenant) -> None:
    made = idp.user("ada")
    with scope(tenant.organization):
        row = DirectoryUser.objects.get(pk=made["id"])
        Membership.objects.filter(user=row.user).update(role=Role.OWNER)
        Membership.objects.filter(user=tenant.owner).delete()
    before = state(idp)
    off = {"op": "replace", "path": "active", "value": False}
    assert "last owner" in idp.patch(f"/Users/{made['id']}", off, status=409).data["detail"]
    idp("DELETE", f"/Users/{made['id']}", status=409)
    assert state(idp) == before
    with scope(tenant.organization):
        assert AuditEvent.objects.filter(action=actions.LAST_OWNER_KEPT.name).count() == 2


def test_a_group_of_strangers_is_no_group(idp: Idp, strange_idp: Idp) -> None:
    stranger = strange_idp.user()
    body = {"schemas": [GROUP], "displayName": "All", "members": [{"value": stranger["id"]}]}
    assert idp("POST", "/Groups", body, 400).data["scimType"] == "invalidValue"
    assert state(idp)[1] == []
