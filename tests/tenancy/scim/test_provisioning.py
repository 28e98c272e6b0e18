"""Whom a directory makes a member and whom not, and what somebody who leaves it loses, all of it or nothing."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.contrib.sessions.backends.db import SessionStore
from django.utils import timezone

from tenancy import access
from tenancy.access import InvalidKey, authenticate_key, reset_key_cache
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import Actor
from tenancy.errors import LimitReached
from tenancy.groups.models import PersonGroups
from tenancy.models import ApiKey, Invitation, Membership, Organization, ProjectRole, User
from tenancy.roles import Role
from tenancy.scim import provisioning
from tenancy.scim.directories import selectors
from tenancy.scim.directories.remedies import BY_STATUS
from tenancy.scim.directories.tokens import DirectoryPrincipal
from tenancy.scim.models import Directory, DirectoryGroupMember, DirectoryUser
from tenancy.scim.provisioning import LastOwnerStays, NotAdopted
from tenancy.scope import scope
from tenancy.services import invitations, keys, leavers, members
from tenancy.sso.models import IdentityProvider, SignIn, VerifiedDomain
from tenancy.sso.providers import sign_in
from tenancy.sso.providers.reasons import Refused
from tests.factories import PASSWORD, Tenant, add_member, make_user
from tests.identity_provider import SamlProvider
from tests.tenancy.scim.conftest import USER, Idp
from tests.tenancy.scim.directory_things import account_of, brought, connected, group, maps, provisioned, role_of
from tests.tenancy.sso.saml.conftest import connect, own


@pytest.fixture
def domain(tenant: Tenant) -> str:
    """The tenant's domain."""
    return own(tenant)


@pytest.fixture
def okta(tenant: Tenant) -> tuple[Directory, DirectoryPrincipal]:
    """The tenant's directory, at work."""
    return connected(tenant)[:2]


@pytest.fixture
def who(okta: tuple[Directory, DirectoryPrincipal]) -> DirectoryPrincipal:
    """The directory, acting."""
    return okta[1]


@pytest.fixture
def directory(okta: tuple[Directory, DirectoryPrincipal]) -> Directory:
    """The directory's row."""
    return okta[0]


def moved(user: User, domain: str) -> User:
    """The person with an address in the domain."""
    email = user.email.replace("example.com", domain)
    User.objects.filter(pk=user.pk).update(email=email)
    EmailAddress.objects.filter(user=user).update(email=email)
    user.refresh_from_db()
    return user


def said(tenant: Tenant, action: Any) -> list[AuditEvent]:
    """What the trail has of an action, the oldest first."""
    with scope(tenant.organization):
        return list(AuditEvent.objects.filter(action=action.name).order_by("id"))


def withdraw(tenant: Tenant, row: DirectoryUser, who: DirectoryPrincipal) -> None:
    """Deactivate a user of the directory."""
    with scope(tenant.organization):
        row = DirectoryUser.objects.select_related("user", "directory").get(pk=row.pk)
        row.is_active = False
        row.save()
        provisioning.withdraw(row, actor=who.actor)


def provision(tenant: Tenant, row: DirectoryUser, who: DirectoryPrincipal, **more: Any) -> DirectoryUser:
    """Write a user of the directory again, active."""
    with scope(tenant.organization):
        row = DirectoryUser.objects.select_related("user", "directory").get(pk=row.pk)
        for name, value in ({"is_active": True} | more).items():
            setattr(row, name, value)
        row.save()
        provisioning.provision(row, actor=who.actor)
        return row


def key_of(tenant: Tenant, user: User, scopes: list[str] | None = None, parent: ApiKey | None = None) -> keys.NewKey:
    """A key that somebody made."""
    actor = Actor("user", str(user.pk), user.email)
    maker = keys.Maker(actor, user=user, parent_id=parent.pk if parent else None)
    with scope(tenant.organization):
        return keys.create(maker=maker, project_id=tenant.project.pk, name="Work", scopes=scopes or ["memory:read"])


def works(secret: str) -> bool:
    """Whether a key opens anything, asked anew."""
    reset_key_cache()
    try:
        return bool(authenticate_key(f"Bearer {secret}", "127.0.0.1"))
    except InvalidKey:
        return False


def session_of(user: User, opened_by: Tenant | None = None) -> str:
    """A session of somebody, which they or the sign-on of an organization opened."""
    store = SessionStore()
    if opened_by is not None:
        store["sso"] = {"organization": str(opened_by.organization.pk), "provider": str(uuid.uuid4())}
    store.create()
    assert store.session_key
    UserSession.objects.create(user=user, ip="192.0.2.1", session_key=store.session_key, user_agent="Firefox")
    return store.session_key


def is_open(session_key: str) -> bool:
    """Whether a session still stands."""
    return SessionStore().exists(session_key) and UserSession.objects.filter(session_key=session_key).exists()


# --- Who becomes a member --------------------------------------------------------------------------------------------


def test_somebody_new_gets_an_account_and_the_directory_s_role(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    data = {"name": {"givenName": "Ada", "familyName": "Lovelace"}}
    row = provisioned(tenant, directory, who, f"ada@{domain}", data=data)
    user = account_of(row)
    assert (user.email, user.name, user.has_usable_password()) == (f"ada@{domain}", "Ada Lovelace", False)
    assert EmailAddress.objects.get(user=user).verified
    assert role_of(tenant, user) == Role.VIEWER
    [linked], [added] = said(tenant, actions.PERSON_LINKED), said(tenant, actions.MEMBER_ADDED)
    assert linked.metadata == {"is_new_account": True}
    assert added.actor["kind"] == "directory"
    assert added.actor["id"] == str(directory.pk)


def test_a_member_of_the_domain_is_linked_and_keeps_their_role_and_password(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    bob = moved(add_member(tenant, Role.ADMIN), domain)
    row = provisioned(tenant, directory, who, bob.email.upper().lower())
    assert account_of(row) == bob
    assert role_of(tenant, bob) == Role.ADMIN
    assert bob.check_password(PASSWORD)
    assert said(tenant, actions.PERSON_LINKED)[0].metadata == {"is_new_account": False}


def test_who_waits_with_a_password_in_an_unconfirmed_account_has_waited_in_vain(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    squatter = moved(make_user("Mallory"), domain)
    EmailAddress.objects.filter(user=squatter).update(verified=False)
    provisioned(tenant, directory, who, squatter.email)
    squatter.refresh_from_db()
    assert not squatter.has_usable_password()


@pytest.mark.parametrize("exists", [True, False])
def test_nobody_outside_the_verified_domains_is_adopted_or_made(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal, exists: bool
) -> None:
    email = make_user("Eve").email if exists else f"eve@{uuid.uuid4().hex}.example.com"
    with pytest.raises(NotAdopted, match="Verify the domain") as refusal:
        provisioned(tenant, directory, who, email)
    assert refusal.value.reason == "foreign_domain"
    with scope(tenant.organization):
        assert not DirectoryUser.objects.exists()
        assert Membership.objects.count() == 1
    assert User.objects.filter(email=email).exists() == exists


def test_another_organization_s_domain_does_not_count(tenant: Tenant, stranger: Tenant) -> None:
    theirs = own(stranger)
    directory, who, _ = connected(tenant)
    with pytest.raises(NotAdopted):
        provisioned(tenant, directory, who, f"eve@{theirs}")


@pytest.mark.parametrize(
    ("flags", "reason"), [({"is_staff": True}, "staff_account"), ({"is_active": False}, "inactive_person")]
)
def test_our_staff_and_accounts_that_are_off_are_never_adopted(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal, flags: dict[str, bool], reason: str
) -> None:
    user = moved(make_user("Eve"), domain)
    User.objects.filter(pk=user.pk).update(**flags)
    with pytest.raises(NotAdopted) as refusal:
        provisioned(tenant, directory, who, user.email)
    assert refusal.value.reason == reason
    assert provisioning.REMEDIES[reason] in str(refusal.value)


def test_two_users_of_a_directory_are_never_one_person(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    provisioned(tenant, directory, who, f"ada@{domain}")
    with pytest.raises(NotAdopted, match="another user of this directory"):
        provisioned(tenant, directory, who, f"ada@{domain}", user_name="somebody-else")


def test_a_user_without_an_address_or_a_seat_is_refused_as_a_whole(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    with pytest.raises(NotAdopted, match="work address"):
        provisioned(tenant, directory, who, "", user_name="ada")
    with scope(tenant.organization):
        Organization.objects.update(member_limit=1)
    with pytest.raises(LimitReached):
        provisioned(tenant, directory, who, f"ada@{domain}")
    assert not User.objects.filter(email=f"ada@{domain}").exists()


def test_a_user_who_comes_inactive_is_nobody_yet(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    row = provisioned(tenant, directory, who, f"ada@{domain}", is_active=False)
    assert row.user is None
    assert not User.objects.filter(email=f"ada@{domain}").exists()
    assert role_of(tenant, account_of(provision(tenant, row, who))) == Role.VIEWER


def test_another_address_does_not_lead_to_another_account(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    row = provisioned(tenant, directory, who, f"ada@{domain}")
    eve = moved(add_member(tenant, Role.OWNER, "Eve"), domain)
    before = account_of(row)
    assert provision(tenant, row, who, email=eve.email, user_name=eve.email).user == before
    withdraw(tenant, row, who)
    assert (role_of(tenant, before), role_of(tenant, eve)) == ("", Role.OWNER)


@pytest.mark.parametrize(
    ("user_name", "emails", "email"),
    [
        ("Ada@Acme.com", None, "ada@acme.com"),
        ("ada", [{"value": "x@acme.com"}, {"value": "ADA@acme.com", "primary": True}], "ada@acme.com"),
        ("ada", [{"value": "home@acme.com", "type": "home"}, {"value": "w@acme.com", "type": "work"}], "w@acme.com"),
        ("ada@acme.com", [{"value": "first@acme.com", "primary": "true"}, "junk", {"type": "work"}], "first@acme.com"),
        ("ada@acme.com", [{"value": "no address"}], ""),
        ("ada", [], ""),
        (f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 60}.com", None, ""),
    ],
)
def test_the_address_is_the_primary_one_or_a_user_name_that_is_one(user_name: str, emails: Any, email: str) -> None:
    assert provisioning.address_of(user_name, {"emails": emails} if emails is not None else {}) == email


# --- Who leaves ------------------------------------------------------------------------------------------------------


def test_who_leaves_loses_membership_keys_invitations_and_the_sessions_that_sign_on_opened(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    bob = moved(add_member(tenant, Role.MEMBER), domain)
    row = provisioned(tenant, directory, who, bob.email)
    made = key_of(tenant, bob)
    below = key_of(tenant, tenant.owner, parent=made.key)
    by_sign_on, by_themselves = session_of(bob, tenant), session_of(bob)
    with scope(tenant.organization):
        Invitation.objects.create(email=bob.email, role="owner", invited_by="x", expires_at=timezone.now())
    assert works(made.secret)
    withdraw(tenant, row, who)
    assert role_of(tenant, bob) == ""
    assert [works(one) for one in (made.secret, below.secret, tenant.secret)] == [False, False, True]
    assert [is_open(one) for one in (by_sign_on, by_themselves)] == [False, True]
    with scope(tenant.organization):
        assert not Invitation.objects.filter(revoked_at=None).exists()
    [removed] = said(tenant, actions.MEMBER_REMOVED)
    assert removed.actor["kind"] == "directory"
    assert removed.metadata == {"keys_revoked": 2, "keys_handed_over": 0, "sessions_ended": 1}


def test_over_http_the_key_of_who_is_deactivated_is_refused_and_the_log_says_by_what(idp: Idp) -> None:
    made = idp.user("ada")
    with scope(idp.tenant.organization):
        user = account_of(DirectoryUser.objects.select_related("user").get(pk=made["id"]))
    key = key_of(idp.tenant, user)
    assert works(key.secret)
    idp.patch(f"/Users/{made['id']}", {"op": "Replace", "path": "active", "value": "False"}, status=200)
    assert not works(key.secret)
    assert role_of(idp.tenant, user) == ""
    idp.patch(f"/Users/{made['id']}", {"op": "replace", "value": {"active": True}}, status=200)
    assert (role_of(idp.tenant, user), works(key.secret)) == (Role.VIEWER, False)
    idp("DELETE", f"/Users/{made['id']}", status=204)
    assert role_of(idp.tenant, user) == ""
    with scope(idp.tenant.organization):
        rows = selectors.exchanges(idp.directory.pk, resource=made["id"], limit=9)
    assert [(one.method, one.status, one.kind) for one in reversed(rows)] == [
        *(("POST", 201, "write"), ("PATCH", 200, "write"), ("PATCH", 200, "write"), ("DELETE", 204, "write"))
    ]


def test_over_http_whoever_is_refused_is_in_the_log_with_what_helps(idp: Idp) -> None:
    email = make_user("Eve").email
    idp("POST", "/Users", {"schemas": [USER], "userName": email, "active": True}, 409)
    with scope(idp.tenant.organization):
        [way] = selectors.failures(idp.directory.pk)
        assert not DirectoryUser.objects.exists()
    assert "Verify the domain" in way.detail
    assert (way.newest.status, way.newest.scim_type, way.reason) == (409, "", BY_STATUS[409])


def test_who_is_in_two_organizations_loses_one(tenant: Tenant, stranger: Tenant, domain: str) -> None:
    directory, who, _ = connected(tenant)
    bob = moved(add_member(tenant, Role.MEMBER), domain)
    with scope(stranger.organization):
        Membership.objects.create(user=bob, role=Role.ADMIN)
    row = provisioned(tenant, directory, who, bob.email)
    here, there = key_of(tenant, bob), key_of(stranger, bob)
    sessions = session_of(bob, tenant), session_of(bob, stranger)
    withdraw(tenant, row, who)
    assert [one.slug for one in access.memberships(bob)] == [stranger.organization.slug]
    assert (works(here.secret), works(there.secret)) == (False, True)
    assert [is_open(one) for one in sessions] == [False, True]


def test_keys_go_to_the_heir_who_could_have_made_them_and_all_others_end(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    bob, eve = moved(add_member(tenant, Role.ADMIN), domain), add_member(tenant, Role.VIEWER, "Eve")
    row = provisioned(tenant, directory, who, bob.email)
    with scope(tenant.organization):
        Directory.objects.update(keys_go_to=eve)
        place = ProjectRole.objects.create(
            membership=Membership.objects.get(user=eve), project=tenant.project, role=Role.MEMBER
        )
    high = key_of(tenant, bob, ["audit:read", "memory:read"])
    under_high = key_of(tenant, bob, ["memory:read"], parent=high.key)
    fitting = key_of(tenant, bob, ["memory:write"])
    below = key_of(tenant, tenant.owner, ["memory:write"], parent=fitting.key)
    withdraw(tenant, row, who)
    assert [works(one.secret) for one in (high, under_high, fitting, below)] == [False, False, True, True]
    with scope(tenant.organization):
        assert ApiKey.objects.get(pk=fitting.key.pk).created_by == eve
        place.delete()
    [handed] = said(tenant, actions.KEY_HANDED_OVER)
    assert handed.metadata == {"from": str(bob.pk), "to": str(eve.pk)}
    assert said(tenant, actions.MEMBER_REMOVED)[0].metadata["keys_handed_over"] == 1


@pytest.mark.parametrize("heir", ["gone", "oneself", "off"])
def test_without_an_heir_who_is_a_member_the_keys_end(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal, heir: str
) -> None:
    bob = moved(add_member(tenant, Role.MEMBER), domain)
    row = provisioned(tenant, directory, who, bob.email)
    eve = {"gone": make_user("Eve"), "oneself": bob, "off": add_member(tenant, Role.OWNER, "Eve")}[heir]
    User.objects.filter(pk=eve.pk).update(is_active=heir != "off")
    with scope(tenant.organization):
        Directory.objects.update(keys_go_to=eve)
    made = key_of(tenant, bob)
    withdraw(tenant, row, who)
    assert not works(made.secret)


def test_who_comes_back_has_their_role_again_and_none_of_their_secrets(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    bob = moved(add_member(tenant, Role.ADMIN), domain)
    row = provisioned(tenant, directory, who, bob.email)
    made = key_of(tenant, bob)
    withdraw(tenant, row, who)
    withdraw(tenant, row, who)  # a directory says it again
    provision(tenant, row, who)
    assert role_of(tenant, bob) == Role.ADMIN
    assert not works(made.secret)
    assert len(said(tenant, actions.MEMBER_REMOVED)) == 1


def test_who_left_does_not_come_back_once_the_domain_is_another_s(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    row = provisioned(tenant, directory, who, f"ada@{domain}")
    withdraw(tenant, row, who)
    with scope(tenant.organization):
        VerifiedDomain.objects.update(state="pending")
    with pytest.raises(NotAdopted):
        provision(tenant, row, who)


def test_the_last_owner_stays_and_the_trail_says_so_loudly(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    moved(tenant.owner, domain)
    row = provisioned(tenant, directory, who, tenant.owner.email)
    session = session_of(tenant.owner, tenant)
    with pytest.raises(LastOwnerStays, match="make somebody else an owner first") as failure:
        withdraw(tenant, row, who)
    provisioning.refused(who, failure.value)
    provisioning.refused(who, NotAdopted("taken", "x"))
    assert role_of(tenant, tenant.owner) == Role.OWNER
    assert works(tenant.secret)
    assert is_open(session)
    [kept] = said(tenant, actions.LAST_OWNER_KEPT)
    assert (kept.target["id"], kept.actor["kind"]) == (str(tenant.owner.pk), "directory")
    assert actions.LAST_OWNER_KEPT.severity.name == "CRITICAL"
    add_member(tenant, Role.OWNER, "Eve")
    withdraw(tenant, row, who)
    assert role_of(tenant, tenant.owner) == ""


@pytest.mark.parametrize("step", ["void_invitations", "end"])
def test_what_fails_in_between_leaves_everything_as_it_was(
    tenant: Tenant,
    domain: str,
    directory: Directory,
    who: DirectoryPrincipal,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    class Killed(BaseException):
        """The process is gone."""

    def die(*arguments: Any, **named: Any) -> None:
        raise Killed

    bob = moved(add_member(tenant, Role.MEMBER), domain)
    row = provisioned(tenant, directory, who, bob.email)
    with scope(tenant.organization):
        Directory.objects.update(keys_go_to=tenant.owner)
    made, session, events = key_of(tenant, bob), session_of(bob, tenant), len(said(tenant, actions.KEY_HANDED_OVER))
    monkeypatch.setattr(leavers if step == "void_invitations" else members, step, die)
    with pytest.raises(Killed):
        withdraw(tenant, row, who)
    assert role_of(tenant, bob) == Role.MEMBER
    assert works(made.secret)
    assert is_open(session)
    with scope(tenant.organization):
        kept = DirectoryUser.objects.get(pk=row.pk)
        assert (kept.is_active, kept.last_role) == (True, "")
        assert ApiKey.objects.get(pk=made.key.pk).created_by == bob
    assert len(said(tenant, actions.KEY_HANDED_OVER)) == events


def test_who_left_comes_in_by_sign_on_only_after_somebody_invited_them(tenant: Tenant, domain: str) -> None:
    directory, who, _ = connected(tenant)
    provider = connect(tenant, SamlProvider())
    row = provisioned(tenant, directory, who, f"ada@{domain}")

    def arrive() -> None:
        with scope(tenant.organization):
            kept = SignIn.objects.create(
                provider=provider,
                provider_version=provider.version,
                state="answered",
                assertion_id=f"_{uuid.uuid4().hex}",
                subject=row.email,
                email=row.email,
                expires_at=timezone.now() + timedelta(minutes=5),
            )
            fresh = IdentityProvider.objects.get(pk=provider.pk)
        sign_in.complete(sign_in.find(provider=fresh, sign_in_id=kept.pk))

    arrive()
    withdraw(tenant, row, who)
    with pytest.raises(Refused, match="has left"):
        arrive()
    with scope(tenant.organization):
        offer = invitations.create(actor=tenant.actor, actor_role=Role.OWNER, email=row.email, role=Role.VIEWER)
    invitations.accept(token=invitations.token_for(offer), user=account_of(row))
    arrive()
    assert role_of(tenant, account_of(row)) == Role.VIEWER


# --- Groups ----------------------------------------------------------------------------------------------------------


def test_groups_and_groups_in_groups_give_roles(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    ada, bob, eve = (provisioned(tenant, directory, who, f"{name}@{domain}") for name in ("ada", "bob", "eve"))
    with scope(tenant.organization):
        maps("Company", Role.MEMBER)
        maps("Admins", Role.ADMIN)
        inner = group(directory, "Inner", ada)
        middle = group(directory, "Middle", inner, bob)
        group(directory, "Company", middle)
        group(directory, "Admins", bob)
        # a directory that makes a circle of groups does not make us go round for ever
        DirectoryGroupMember.objects.create(group=inner, subgroup=middle)
        assert provisioning.groups_of([ada.pk, bob.pk, eve.pk]) == {
            ada.pk: ["Company", "Inner", "Middle"],
            bob.pk: ["Admins", "Company", "Inner", "Middle"],
        }
        provisioning.groups_changed([ada, bob, eve], actor=who.actor)
    assert [role_of(tenant, account_of(one)) for one in (ada, bob, eve)] == [Role.MEMBER, Role.ADMIN, Role.VIEWER]


def test_who_is_nobody_here_or_has_left_has_no_groups(
    tenant: Tenant, domain: str, directory: Directory, who: DirectoryPrincipal
) -> None:
    ada = provisioned(tenant, directory, who, f"ada@{domain}")
    with scope(tenant.organization):
        nobody = brought(directory, "x@nowhere.example", is_active=False)
        group(directory, "Company", ada, nobody)
        provisioning.groups_changed([ada, nobody], actor=who.actor)
        assert PersonGroups.objects.get().user == ada.user
        provisioning.groups_changed([nobody], actor=who.actor)
    withdraw(tenant, ada, who)
    with scope(tenant.organization):
        assert not PersonGroups.objects.exists()
    provision(tenant, ada, who)
    with scope(tenant.organization):
        assert PersonGroups.objects.get().groups == ["Company"]
