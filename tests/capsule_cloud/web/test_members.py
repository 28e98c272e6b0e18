"""Members and invitations in the console."""

import re
import uuid

from django.core import mail
from django.test import Client

from tenancy.models import Invitation, Membership
from tenancy.roles import Role
from tenancy.scope import scope
from tests.capsule_cloud.web.conftest import SignIn
from tests.factories import Tenant, add_member, make_user


def _address() -> str:
    return f"new-{uuid.uuid4().hex[:12]}@example.com"


def test_an_invitation_is_mailed_and_can_be_accepted(
    tenant: Tenant, owner: Client, home: str, sign_in: SignIn, django_capture_on_commit_callbacks: object
) -> None:
    person = make_user("Nina")
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        owner.post(home + "members/invite/", {"email": person.email, "role": "member"})
    [message] = mail.outbox
    link = re.search(r"/invitations/\S+", str(message.body))
    assert link is not None
    browser = sign_in(person)
    assert tenant.organization.name in browser.get(link.group()).content.decode()
    answer = browser.post(link.group(), follow=True)
    assert answer.redirect_chain[-1][0] == home
    assert f"Welcome to {tenant.organization.name}." in answer.content.decode()
    assert browser.post(link.group()).status_code == 410


def test_whoever_is_invited_finds_the_offer_after_sign_in(
    tenant: Tenant, owner: Client, home: str, sign_in: SignIn
) -> None:
    person = make_user("Otto")
    owner.post(home + "members/invite/", {"email": person.email, "role": "viewer"})
    browser = sign_in(person)
    assert browser.get("/")["Location"] == "/organizations/new/"
    assert f"Join {tenant.organization.name}" in browser.get("/organizations/new/").content.decode()


def test_an_invitation_for_another_address_is_refused_and_says_so(
    tenant: Tenant, owner: Client, home: str, sign_in: SignIn
) -> None:
    invited, somebody_else = make_user("Iris"), make_user("Eve")
    owner.post(home + "members/invite/", {"email": invited.email, "role": "member"})
    text = sign_in(invited).get("/organizations/new/").content.decode()
    link = re.search(r'action="(/invitations/[^"]+)"', text)
    assert link is not None
    browser = sign_in(somebody_else)
    assert "sent to" in browser.get(link.group(1)).content.decode()
    assert browser.post(link.group(1)).status_code == 403
    with scope(tenant.organization):
        assert not Membership.objects.filter(user=somebody_else).exists()


def test_a_forged_invitation_is_a_friendly_page(tenant: Tenant, owner: Client) -> None:
    answer = owner.get("/invitations/forged:token:here/")
    assert answer.status_code == 410
    assert "no longer valid" in answer.content.decode()


def test_inviting_twice_is_an_error_beside_the_form(tenant: Tenant, owner: Client, home: str) -> None:
    wanted = {"email": _address(), "role": "viewer"}
    assert owner.post(home + "members/invite/", wanted).status_code == 302
    answer = owner.post(home + "members/invite/", wanted)
    assert answer.status_code == 422
    assert "invited already" in answer.content.decode()


def test_an_invitation_can_be_sent_again_and_taken_back(tenant: Tenant, owner: Client, home: str) -> None:
    owner.post(home + "members/invite/", {"email": _address(), "role": "viewer"})
    with scope(tenant.organization):
        invitation = Invitation.objects.get()
    owner.post(f"{home}invitations/{invitation.pk}/resend/")
    with scope(tenant.organization):
        assert Invitation.objects.get().generation == 2
    owner.post(f"{home}invitations/{invitation.pk}/revoke/")
    with scope(tenant.organization):
        assert Invitation.objects.get().revoked_at is not None
    assert owner.post(f"{home}invitations/{invitation.pk}/resend/").status_code == 404


def test_an_admin_is_not_offered_the_owners_role(tenant: Tenant, home: str, sign_in: SignIn) -> None:
    browser = sign_in(add_member(tenant, Role.ADMIN, "Anna"))
    text = browser.get(home + "members/invite/").content.decode()
    assert 'value="admin"' in text
    assert 'value="owner"' not in text
    assert browser.post(home + "members/invite/", {"email": _address(), "role": "owner"}).status_code == 422
    remove = f"{home}members/{tenant.owner.pk}/remove/"
    assert remove not in browser.get(home + "members/").content.decode()
    assert browser.post(remove).status_code == 403


def test_a_role_can_be_changed(tenant: Tenant, owner: Client, home: str) -> None:
    person = add_member(tenant, Role.VIEWER, "Rolf")
    owner.post(f"{home}members/{person.pk}/role/", {"role": "admin"})
    with scope(tenant.organization):
        assert Membership.objects.get(user=person).role == Role.ADMIN


def test_a_removed_member_loses_the_pages_at_once(tenant: Tenant, owner: Client, home: str, sign_in: SignIn) -> None:
    person = add_member(tenant, Role.ADMIN, "Gone")
    browser = sign_in(person)
    assert browser.get(home).status_code == 200
    owner.post(f"{home}members/{person.pk}/remove/")
    assert browser.get(home).status_code == 404


def test_the_last_owner_is_told_why_they_cannot_leave(tenant: Tenant, owner: Client, home: str) -> None:
    answer = owner.post(home + "members/leave/", follow=True)
    assert "The last owner cannot leave" in answer.content.decode()


def test_a_member_who_leaves_is_out(tenant: Tenant, home: str, sign_in: SignIn) -> None:
    browser = sign_in(add_member(tenant, Role.MEMBER, "Lea"))
    assert browser.post(home + "members/leave/")["Location"] == "/"
    assert browser.get(home).status_code == 404


def test_members_of_other_organizations_cannot_be_touched(
    tenant: Tenant, stranger: Tenant, owner: Client, home: str
) -> None:
    for action in ("role/", "remove/"):
        assert owner.get(f"{home}members/{stranger.owner.pk}/{action}").status_code == 404
