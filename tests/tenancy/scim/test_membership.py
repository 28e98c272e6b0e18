"""Groups of a directory: users and groups in them, changed at the cost of the change."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tenancy.roles import Role
from tenancy.scim.models import DirectoryGroup, DirectoryGroupMember, DirectoryUser
from tenancy.scope import scope
from tests.tenancy.scim.conftest import Idp
from tests.tenancy.scim.directory_things import maps, role_of


def inside(idp: Idp, group: Any) -> list[str]:
    """The ids of a group's members."""
    read = idp("GET", f"/Groups/{group['id']}", status=200).data
    return [one["value"] for one in read.get("members", ())]


def add(*ids: str) -> dict[str, Any]:
    """The operation that adds these."""
    return {"op": "add", "path": "members", "value": [{"value": one} for one in ids]}


def test_groups_may_be_in_groups_and_have_their_own_names_for_members(idp: Idp) -> None:
    ada = idp.user("ada", displayName="Ada")["id"]
    inner = idp.group("Inner", ada)["id"]
    outer = idp.group("Outer")
    idp.patch(f"/Groups/{outer['id']}", add(inner), status=204)
    [shown] = idp("GET", f"/Groups/{outer['id']}", status=200).data["members"]
    assert shown == {
        "value": inner,
        "$ref": f"http://testserver/scim/v2/Groups/{inner}",
        "type": "Group",
        "display": "Inner",
    }
    named = {"op": "replace", "path": "members", "value": [{"value": ada, "display": "The Countess"}]}
    idp.patch(f"/Groups/{outer['id']}", named, status=204)
    [shown] = idp("GET", f"/Groups/{outer['id']}", status=200).data["members"]
    assert (shown["display"], shown["type"]) == ("The Countess", "User")
    plain = {"op": "replace", "path": "members", "value": [{"value": ada}]}
    idp.patch(f"/Groups/{outer['id']}", plain, status=204)
    assert idp("GET", f"/Groups/{outer['id']}").data["members"][0]["display"] == "Ada"


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": 'members[value eq "{ada}"]'},
        {"op": "remove", "path": 'members[value eq "{ada}" or value eq "nobody"]'},
        {"op": "Remove", "path": "members", "value": [{"value": "{ada}"}]},
        {"op": "remove", "path": 'members[display sw "ada"]'},
        {"op": "replace", "path": "members", "value": [{"value": "{bob}"}]},
        {"op": "replace", "value": {"members": [{"value": "{bob}"}]}},
    ],
)
def test_a_member_is_removed_by_every_way_to_say_it(idp: Idp, operation: dict[str, Any]) -> None:
    ada, bob = idp.user("ada", displayName="Ada")["id"], idp.user("bob")["id"]
    body = {"op": "replace", "path": "members", "value": [{"value": ada, "display": "ada"}, {"value": bob}]}
    group = idp.group("Both")
    idp.patch(f"/Groups/{group['id']}", body, status=204)
    text = json.dumps(operation).replace("{ada}", ada).replace("{bob}", bob)
    idp.patch(f"/Groups/{group['id']}", json.loads(text), status=204)
    assert inside(idp, group) == [bob]


def test_all_members_are_removed_and_added_without_a_path(idp: Idp) -> None:
    ada, bob = idp.user()["id"], idp.user()["id"]
    group = idp.group("Both", ada)
    idp.patch(f"/Groups/{group['id']}", {"op": "add", "value": {"members": [{"value": bob}]}}, status=204)
    assert inside(idp, group) == [ada, bob]
    idp.patch(f"/Groups/{group['id']}", add(ada, bob), status=204)
    assert inside(idp, group) == [ada, bob]
    idp.patch(f"/Groups/{group['id']}", {"op": "remove", "path": "members"}, status=204)
    assert inside(idp, group) == []


def test_who_is_not_there_is_added_by_nobody_and_nothing_is_changed(idp: Idp, strange_idp: Idp) -> None:
    ada, stranger = idp.user()["id"], strange_idp.user()["id"]
    group = idp.group("Team")
    path = f"/Groups/{group['id']}"
    for wrong in ("nobody", stranger, group["id"]):
        answer = idp.patch(path, {"op": "replace", "path": "displayName", "value": "X"}, add(ada, wrong), status=400)
        assert answer.data["scimType"] == "invalidValue"
    assert idp("GET", path).data == group


def test_the_answer_to_a_patch_has_what_is_asked_for(idp: Idp) -> None:
    ada = idp.user()["id"]
    group = idp.group("Team")
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [add(ada)]}
    answer = idp("PATCH", f"/Groups/{group['id']}?attributes=members.value", body, 200)
    assert answer.data["members"] == [{"value": ada}]
    assert answer["ETag"] == 'W/"2"'


def test_a_group_changes_with_those_who_go(idp: Idp) -> None:
    ada = idp.user()["id"]
    inner, outer = idp.group("Inner", ada), idp.group("Outer")
    idp.patch(f"/Groups/{outer['id']}", add(inner["id"]), status=204)
    idp("DELETE", f"/Users/{ada}", status=204)
    read = idp("GET", f"/Groups/{inner['id']}").data
    assert ("members" in read, read["meta"]["version"]) == (False, 'W/"2"')
    idp("DELETE", f"/Groups/{inner['id']}", status=204)
    assert idp("GET", f"/Groups/{outer['id']}").data["meta"]["version"] == 'W/"3"'


def test_roles_follow_a_change_through_groups_in_groups(idp: Idp) -> None:
    ada = idp.user("ada")
    inner, outer = idp.group("Inner"), idp.group("Outer")
    with scope(idp.tenant.organization):
        maps("Admins", Role.ADMIN)
    user = who(idp, ada)
    idp.patch(f"/Groups/{outer['id']}", add(inner["id"]), status=204)
    idp.patch(f"/Groups/{inner['id']}", add(ada["id"]), status=204)
    assert role_of(idp.tenant, user) == Role.VIEWER
    idp.patch(f"/Groups/{outer['id']}", {"op": "replace", "path": "displayName", "value": "Admins"}, status=204)
    assert role_of(idp.tenant, user) == Role.ADMIN
    idp.patch(f"/Groups/{outer['id']}", {"op": "remove", "path": f'members[value eq "{inner["id"]}"]'}, status=204)
    assert role_of(idp.tenant, user) == Role.VIEWER
    idp.patch(f"/Groups/{outer['id']}", add(inner["id"]), status=204)
    idp("DELETE", f"/Groups/{outer['id']}", status=204)
    assert role_of(idp.tenant, user) == Role.VIEWER


def who(idp: Idp, user: Any) -> Any:
    """The account that a user of the directory is."""
    with scope(idp.tenant.organization):
        return DirectoryUser.objects.select_related("user").get(pk=user["id"]).user


def test_a_change_of_a_large_group_costs_what_it_changes(idp: Idp) -> None:
    ada = idp.user()["id"]

    def cost(size: int) -> int:
        group = idp.group(f"Of {size}")
        with scope(idp.tenant.organization):
            row = DirectoryGroup.objects.get(pk=group["id"])
            subs = DirectoryGroup.objects.bulk_create(
                [
                    DirectoryGroup(directory=idp.directory, display_name=f"{size} {n}", name_key=f"{n}")
                    for n in range(size)
                ]
            )
            DirectoryGroupMember.objects.bulk_create([DirectoryGroupMember(group=row, subgroup=one) for one in subs])
        with CaptureQueriesContext(connection) as asked:
            idp.patch(f"/Groups/{group['id']}", add(ada), status=204)
            idp.patch(f"/Groups/{group['id']}", {"op": "remove", "path": f'members[value eq "{ada}"]'}, status=204)
        assert len(inside(idp, group)) == size
        return len(asked)

    cost(1)
    assert cost(3) == cost(300)
