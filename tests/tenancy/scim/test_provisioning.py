"""Whom a directory makes a member and whom not, and what its groups give them."""

import uuid
from typing import Any

import pytest
from allauth.account.models import EmailAddress

from tenancy.audit import actions
from tenancy.errors import LimitReached
from tenancy.groups.models import PersonGroups
from tenancy.models import Membership, Organization, User
from tenancy.roles import Role
from tenancy.scim import provisioning
from tenancy.scim.directories.tokens import DirectoryPrincipal
from tenancy.scim.models import Directory, DirectoryGroupMember, DirectoryUser
from tenancy.scim.provisioning import NotAdopted
from tenancy.scope import scope
from tests.factories import PASSWORD, Tenant, add_member, make_user
from tests.tenancy.scim.directory_things import (
    account_of,
    brought,
    connected,
    group,
    maps,
    moved,
    provision,
    provisioned,
    role_of,
    said,
    withdraw,
)
from tests.tenancy.sso.saml.conftest import own


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
