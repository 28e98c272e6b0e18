"""Invitations are signed, expire, work once, and only the last one sent counts."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core import signing
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenancy import access
from tenancy.audit import actions, selectors
from tenancy.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound
from tenancy.models import Invitation, Membership, Organization, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import invitations, members, organizations
from tests.factories import Tenant, add_member, make_tenant, make_user
from tests.threads import at_once

READERS = [invitations.read, lambda token: invitations.accept(token=token, user=make_user())]


def invite(tenant: Tenant, email: str, role: str = Role.MEMBER, by: Role = Role.OWNER) -> Invitation:
    """An invitation by the tenant's owner, as if of rank `by`."""
    with scope(tenant.organization):
        return invitations.create(actor=tenant.actor, actor_role=by, email=email, role=role)


def change(tenant: Tenant, invitation: Invitation, **fields: Any) -> None:
    """Set columns past the services."""
    with scope(tenant.organization):
        Invitation.objects.filter(pk=invitation.pk).update(**fields)


def test_an_invitation_makes_a_member_once(tenant: Tenant) -> None:
    user = make_user()
    token = invitations.token_for(invite(tenant, f" {user.email.upper()} ", Role.VIEWER))
    offer = invitations.read(token)
    assert (offer.organization_name, offer.email, offer.role, offer.invited_by) == (
        tenant.organization.name,
        user.email,
        "viewer",
        tenant.owner.email,
    )
    assert invitations.accept(token=token, user=user).role == Role.VIEWER
    assert [member.role for member in access.memberships(user)] == [Role.VIEWER]
    for again in (invitations.read, lambda token: invitations.accept(token=token, user=user)):
        with pytest.raises(invitations.InvitationInvalid):
            again(token)
    with scope(tenant.organization):
        names = [event.action for event in selectors.events(limit=3)]
    assert names == [actions.MEMBER_ADDED.name, actions.INVITATION_ACCEPTED.name, actions.INVITATION_CREATED.name]


def test_the_link_is_mailed_once_the_invitation_is_stored(
    tenant: Tenant, mailoutbox: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        invitation = invite(tenant, "new@example.com")
        assert mailoutbox == []
    [mail] = mailoutbox
    assert mail.to == ["new@example.com"]
    assert tenant.organization.name in mail.subject
    assert f"/invitations/{invitations.token_for(invitation)}/"[:60] in mail.body


def test_a_mail_server_that_is_away_does_not_undo_the_invitation(
    tenant: Tenant, settings: Any, django_capture_on_commit_callbacks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    with django_capture_on_commit_callbacks(execute=True):
        invite(tenant, "new@example.com")
    assert "Error calling" in caplog.text


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("fields", [
    {"expires_at": timezone.now() - timedelta(seconds=1)},
    {"revoked_at": timezone.now()},
    {"accepted_at": timezone.now()},
    {"generation": 2},
], ids=["expired", "revoked", "used", "sent again"])  # fmt: skip
def test_a_void_link_opens_nothing(fields: dict[str, Any], reader: Any, tenant: Tenant) -> None:
    invitation = invite(tenant, "new@example.com")
    change(tenant, invitation, **fields)
    with pytest.raises(invitations.InvitationInvalid):
        reader(invitations.token_for(Invitation(pk=invitation.pk, organization=tenant.organization, generation=1)))


@pytest.mark.parametrize("reader", READERS)
def test_a_link_of_a_closed_organization_opens_nothing(reader: Any, tenant: Tenant) -> None:
    token = invitations.token_for(invite(tenant, "new@example.com"))
    with scope(tenant.organization):
        organizations.close(actor=tenant.actor)
    with pytest.raises(invitations.InvitationInvalid):
        reader(token)


def test_a_signature_older_than_its_life_is_void(tenant: Tenant, settings: Any) -> None:
    invitation = invite(tenant, "new@example.com")
    change(tenant, invitation, expires_at=timezone.now() + timedelta(days=365))
    content = [str(tenant.organization.pk), str(invitation.pk), 1]
    signer = signing.TimestampSigner(salt=invitations.SALT)
    token = invitations.token_for(invitation)
    assert invitations.read(token).invitation_id == invitation.pk
    value = signing.dumps(content, salt=invitations.SALT).rsplit(":", 2)[0]
    then = signing.b62_encode(int((timezone.now() - timedelta(days=8)).timestamp()))
    old = f"{value}:{then}"
    with pytest.raises(invitations.InvitationInvalid):
        invitations.read(f"{old}:{signing.Signer.signature(signer, old)}")


@given(token=st.text(max_size=200) | st.from_regex(r"[\w-]{1,80}:[\w]{1,8}:[\w-]{1,60}", fullmatch=True))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_forged_link_opens_anything(token: str, db: None) -> None:
    with pytest.raises(invitations.InvitationInvalid):
        invitations.read(token)


def test_a_link_of_one_purpose_or_organization_is_none_of_another(tenant: Tenant, stranger: Tenant) -> None:
    invitation = invite(tenant, "new@example.com")
    for content, salt in (
        ([str(tenant.organization.pk), str(invitation.pk), 1], "another purpose"),
        ([str(stranger.organization.pk), str(invitation.pk), 1], invitations.SALT),
        ([str(uuid4()), str(invitation.pk), 1], invitations.SALT),
    ):
        with pytest.raises(invitations.InvitationInvalid):
            invitations.read(signing.dumps(content, salt=salt))


def test_an_invitation_is_for_its_address_alone(tenant: Tenant) -> None:
    token = invitations.token_for(invite(tenant, "new@example.com"))
    with pytest.raises(Forbidden):
        invitations.accept(token=token, user=make_user())
    assert invitations.read(token).email == "new@example.com"


def test_sending_again_makes_the_earlier_link_void_and_revives_an_expired_one(tenant: Tenant) -> None:
    user = make_user()
    first = invite(tenant, user.email)
    old = invitations.token_for(first)
    change(tenant, first, expires_at=timezone.now() - timedelta(days=1))
    with scope(tenant.organization):
        again = invitations.resend(actor=tenant.actor, invitation_id=first.pk)
        assert selectors.events()[0].action == actions.INVITATION_RESENT.name
    with pytest.raises(invitations.InvitationInvalid):
        invitations.read(old)
    assert invitations.accept(token=invitations.token_for(again), user=user).user_id == user.pk


def test_a_revoked_invitation_is_over(tenant: Tenant, stranger: Tenant) -> None:
    invitation = invite(tenant, "new@example.com")
    with scope(stranger.organization), pytest.raises(NotFound):
        invitations.revoke(actor=stranger.actor, invitation_id=invitation.pk)
    with scope(tenant.organization):
        invitations.revoke(actor=tenant.actor, invitation_id=invitation.pk)
        assert selectors.events()[0].action == actions.INVITATION_REVOKED.name
        for act in (invitations.revoke, invitations.resend):
            with pytest.raises(NotFound):
                act(actor=tenant.actor, invitation_id=invitation.pk)
    assert invite(tenant, "new@example.com").pk != invitation.pk


def test_of_two_accepts_at_once_one_counts(transactional_db: None) -> None:
    tenant, user = make_tenant(), make_user()
    token = invitations.token_for(invite(tenant, user.email))
    results = at_once(*[lambda: invitations.accept(token=token, user=user)] * 3)
    assert sorted(type(result).__name__ for result in results) == ["InvitationInvalid"] * 2 + ["Membership"]
    with scope(tenant.organization):
        assert Membership.objects.filter(user=user).count() == 1
        assert len(selectors.events(action=actions.MEMBER_ADDED.name)) == 1


def test_somebody_who_became_a_member_meanwhile_keeps_their_role(tenant: Tenant) -> None:
    user = make_user()
    token = invitations.token_for(invite(tenant, user.email, Role.VIEWER))
    with scope(tenant.organization):
        Membership.objects.create(user=user, role=Role.ADMIN)
    assert invitations.accept(token=token, user=user).role == Role.ADMIN
    with scope(tenant.organization):
        assert selectors.events(action=actions.MEMBER_ADDED.name) == []


@pytest.mark.parametrize(
    "email",
    [
        "",
        "x",
        "a@b",
        "a b@example.com",
        "a@example.com\nBcc: b@example.com",
        "a\0@example.com",
        f"{'a' * 60}@{'b.' * 100}example.com",
    ],
)
def test_what_is_no_address_is_refused(email: str, tenant: Tenant) -> None:
    with pytest.raises(Invalid) as refusal:
        invite(tenant, email)
    assert refusal.value.field == "email"


def test_an_unknown_role_is_refused(tenant: Tenant) -> None:
    with pytest.raises(Invalid) as refusal:
        invite(tenant, "new@example.com", "emperor")
    assert refusal.value.field == "role"


@pytest.mark.parametrize("by", Role)
@pytest.mark.parametrize("role", Role)
def test_nobody_invites_above_themselves(by: Role, role: Role, tenant: Tenant) -> None:
    allowed = {Role.OWNER: set(Role), Role.ADMIN: set(Role) - {Role.OWNER}}
    if role in allowed.get(by, set()):
        assert invite(tenant, "new@example.com", role, by=by).role == role
    else:
        with pytest.raises(Forbidden):
            invite(tenant, "new@example.com", role, by=by)


def test_nobody_is_invited_twice_or_when_a_member(tenant: Tenant) -> None:
    invite(tenant, "new@example.com")
    for taken in ("NEW@example.com", tenant.owner.email.upper()):
        with pytest.raises(Conflict):
            invite(tenant, taken)


def test_an_expired_invitation_makes_room_for_a_new_one(tenant: Tenant) -> None:
    first = invite(tenant, "new@example.com")
    change(tenant, first, expires_at=timezone.now() - timedelta(days=1))
    assert invite(tenant, "new@example.com").pk != first.pk


def test_seats_count_members_and_open_invitations(tenant: Tenant) -> None:
    with scope(tenant.organization):
        Organization.objects.update(member_limit=3)
    add_member(tenant, Role.MEMBER)
    second = invite(tenant, "a@example.com")
    with pytest.raises(LimitReached):
        invite(tenant, "b@example.com")
    with scope(tenant.organization):
        invitations.revoke(actor=tenant.actor, invitation_id=second.pk)
    assert invite(tenant, "b@example.com").email == "b@example.com"


def test_invitations_at_once_do_not_pass_the_seats(transactional_db: None) -> None:
    tenant = make_tenant()
    with scope(tenant.organization):
        Organization.objects.update(member_limit=3)
    works = [lambda n=n: invite(tenant, f"{n}@example.com") for n in range(4)]
    results = at_once(*works)
    assert sorted(type(result).__name__ for result in results) == ["Invitation"] * 2 + ["LimitReached"] * 2


def test_open_invitations_are_offered_to_their_address(tenant: Tenant, stranger: Tenant) -> None:
    user = make_user()
    invite(tenant, user.email)
    closed, expired = make_tenant(), make_tenant()
    invite(closed, user.email)
    change(expired, invite(expired, user.email), expires_at=timezone.now() - timedelta(days=1))
    with scope(closed.organization):
        organizations.close(actor=closed.actor)
    [token] = invitations.tokens_for_email(user.email.upper())
    assert invitations.read(token).organization_id == tenant.organization.pk
    assert invitations.tokens_for_email(stranger.owner.email) == []


def test_a_member_who_was_removed_can_be_invited_again(tenant: Tenant) -> None:
    user: User = add_member(tenant, Role.MEMBER)
    with scope(tenant.organization):
        members.remove(actor=tenant.actor, actor_role=Role.OWNER, user_id=user.pk)
    assert invitations.accept(token=invitations.token_for(invite(tenant, user.email)), user=user).user_id == user.pk
