"""/v1/projects/{id}/roles: who has a role of their own in a project."""

from tenancy.roles import Role
from tests.capsule_cloud.api.client import Api
from tests.factories import add_member


def test_a_role_in_a_project_is_given_listed_changed_and_taken(api: Api) -> None:
    bob = add_member(api.tenant, Role.VIEWER)
    roles = f"/v1/projects/{api.tenant.project.pk}/roles"
    for role in ("member", "admin"):
        given = api.put(f"{roles}/{bob.pk}", {"role": role})
        assert (given.status_code, given.json()["role"], given.json()["is_managed"]) == (200, role, False)
    [row] = api.get(roles).json()["data"]
    assert (row["user_id"], row["email"], row["role"]) == (str(bob.pk), bob.email, "admin")
    assert api.delete(f"{roles}/{bob.pk}").json() == {"user_id": str(bob.pk), "keys_revoked": 0}
    assert (api.get(roles).json()["data"], api.delete(f"{roles}/{bob.pk}").status_code) == ([], 404)


def test_nobody_becomes_the_owner_of_a_project(api: Api) -> None:
    answer = api.put(f"/v1/projects/{api.tenant.project.pk}/roles/{api.tenant.owner.pk}", {"role": "owner"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
