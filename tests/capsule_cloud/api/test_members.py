"""/v1/members and /v1/invitations: a key acts on people as an admin would."""

from uuid import uuid4

from tenancy import access
from tenancy.audit.models import AuditEvent
from tenancy.models import Invitation, Membership
from tenancy.roles import KeyScope, Role
from tenancy.scope import scope
from tenancy.services import keys
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, add_member


def test_members_are_listed_with_their_roles(api: Api) -> None:
    bob = add_member(api.tenant, Role.VIEWER)
    rows = api.get("/v1/members").json()["data"]
    assert [(row["email"], row["role"]) for row in rows] == [(api.tenant.owner.email, "owner"), (bob.email, "viewer")]


def test_a_members_role_is_changed_and_the_change_is_the_keys(api: Api) -> None:
    bob = add_member(api.tenant, Role.VIEWER)
    answer = api.patch(f"/v1/members/{bob.pk}", {"role": "admin"})
    assert (answer.status_code, answer.json()["role"]) == (200, "admin")
    with scope(api.tenant.organization):
        event = AuditEvent.objects.get(action="organization.member.role_changed")
    assert event.actor["kind"] == "api_key"
    assert event.changes["role"][1] == "admin"


def test_a_key_neither_makes_nor_unmakes_owners(api: Api) -> None:
    bob = add_member(api.tenant, Role.MEMBER)
    for answer in (
        api.patch(f"/v1/members/{bob.pk}", {"role": "owner"}),
        api.patch(f"/v1/members/{api.tenant.owner.pk}", {"role": "member"}),
        api.delete(f"/v1/members/{api.tenant.owner.pk}"),
        api.post("/v1/invitations", {"email": "boss@example.com", "role": "owner"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_removed_member_loses_every_key_even_those_that_a_key_of_theirs_made(api: Api) -> None:
    bob = add_member(api.tenant, Role.ADMIN)
    with scope(api.tenant.organization):
        maker = keys.Maker(api.tenant.actor, user=bob, role=Role.ADMIN)
        made = keys.create(
            maker=maker, project_id=api.tenant.project.pk, name="Bob's", scopes=[KeyScope.KEYS_WRITE, KeyScope.ORG_READ]
        )
    bobs = {"Authorization": f"Bearer {made.secret}"}
    secrets = [made.secret]
    for relation in ("child", "sibling"):
        body = {"name": relation, "scopes": ["org:read"], "relation": relation}
        secrets.append(api.post("/v1/keys", body, **bobs).json()["secret"])
    answer = api.delete(f"/v1/members/{bob.pk}")
    assert (answer.status_code, answer.json()) == (200, {"user_id": str(bob.pk), "keys_revoked": 3})
    access.reset_key_cache()
    for secret in secrets:
        assert api.get("/v1/organization", Authorization=f"Bearer {secret}").status_code == 401


def test_a_strangers_member_does_not_exist(api: Api, stranger: Tenant) -> None:
    for user_id in (stranger.owner.pk, uuid4()):
        assert api.patch(f"/v1/members/{user_id}", {"role": "viewer"}).status_code == 404
        assert api.delete(f"/v1/members/{user_id}").status_code == 404
    with scope(stranger.organization):
        assert Membership.objects.get().role == "owner"


def test_an_unknown_role_is_refused(api: Api) -> None:
    answer = api.patch(f"/v1/members/{api.tenant.owner.pk}", {"role": "king"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "role")


def test_an_invitation_is_made_sent_again_and_revoked(api: Api) -> None:
    made = api.post("/v1/invitations", {"email": "Guest@Example.com"})
    assert made.status_code == 201
    invitation = made.json()
    assert (invitation["email"], invitation["role"]) == ("guest@example.com", "member")
    assert "generation" not in invitation
    again = api.post(f"/v1/invitations/{invitation['id']}/resend")
    assert again.status_code == 200
    assert [one["id"] for one in api.get("/v1/invitations").json()["data"]] == [invitation["id"]]
    assert api.delete(f"/v1/invitations/{invitation['id']}").json()["revoked_at"]
    assert api.get("/v1/invitations").json()["data"] == []
    assert api.delete(f"/v1/invitations/{invitation['id']}").status_code == 404


def test_inviting_somebody_twice_is_a_conflict(api: Api) -> None:
    api.post("/v1/invitations", {"email": "guest@example.com"})
    assert api.post("/v1/invitations", {"email": "guest@example.com"}).json()["code"] == "conflict"
    assert api.post("/v1/invitations", {"email": api.tenant.owner.email}).json()["code"] == "conflict"


def test_a_strangers_invitation_does_not_exist(api: Api, stranger: Tenant) -> None:
    theirs = Api(stranger).post("/v1/invitations", {"email": "guest@example.com"}).json()
    assert api.post(f"/v1/invitations/{theirs['id']}/resend").status_code == 404
    assert api.delete(f"/v1/invitations/{theirs['id']}").status_code == 404
    with scope(stranger.organization):
        assert Invitation.objects.get().revoked_at is None
