"""What somebody who leaves a directory loses, all of it or nothing, and what comes back with them."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tenancy import access
from tenancy.audit import actions
from tenancy.models import ApiKey, Invitation, Membership, ProjectRole, User
from tenancy.roles import Role
from tenancy.scim import provisioning
from tenancy.scim.directories import selectors
from tenancy.scim.directories.remedies import BY_STATUS
from tenancy.scim.directories.tokens import DirectoryPrincipal
from tenancy.scim.models import Directory, DirectoryUser
from tenancy.scim.provisioning import LastOwnerStays, NotAdopted
from tenancy.scope import scope
from tenancy.services import invitations, leavers, members
from tenancy.sso.models import IdentityProvider, SignIn, VerifiedDomain
from tenancy.sso.providers import sign_in
from tenancy.sso.providers.reasons import Refused
from tests.factories import Tenant, add_member, make_user
from tests.identity_provider import SamlProvider
from tests.tenancy.scim.conftest import USER, Idp
from tests.tenancy.scim.directory_things import (
    account_of,
    connected,
    is_open,
    key_of,
    moved,
    provision,
    provisioned,
    role_of,
    said,
    session_of,
    withdraw,
    works,
)
from tests.tenancy.sso.saml.conftest import connect


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
