"""Members change roles, leave and are removed; the last owner stays, and keys end with the right to hold them."""

from uuid import uuid4

import pytest

from tenancy import access
from tenancy.audit import actions, selectors
from tenancy.audit.services import Actor
from tenancy.errors import Forbidden, Invalid, NotFound
from tenancy.models import ApiKey, Membership, User
from tenancy.roles import KeyScope, Role
from tenancy.scope import scope
from tenancy.services import keys, members
from tests.factories import Tenant, add_member, make_tenant
from tests.threads import at_once


def actor(user: User) -> Actor:
    """The person, acting."""
    return Actor("user", str(user.pk), user.email)


def change(tenant: Tenant, user: User, role: str, by: Role = Role.OWNER) -> Membership:
    """Change a role as somebody of rank `by`."""
    with scope(tenant.organization):
        return members.change_role(actor=tenant.actor, actor_role=by, user_id=user.pk, role=role)


def remove(tenant: Tenant, user: User, by: Role = Role.OWNER, acting: Actor | None = None) -> int:
    """Remove a member as somebody of rank `by`."""
    with scope(tenant.organization):
        return members.remove(actor=acting or tenant.actor, actor_role=by, user_id=user.pk)


def key_of(tenant: Tenant, user: User, role: Role, scopes: list[str], parent: ApiKey | None = None) -> ApiKey:
    """A key that the person made, or a child of one of their keys."""
    maker = keys.Maker(actor(user), user=user, role=role)
    if parent is not None:
        maker = keys.Maker(Actor("api_key", str(parent.pk), ""), parent_id=parent.pk)
    with scope(tenant.organization):
        return keys.create(maker=maker, project_id=tenant.project.pk, name="k", scopes=scopes).key


def living(tenant: Tenant) -> set[object]:
    """The keys that can still be used."""
    with scope(tenant.organization):
        return set(ApiKey.objects.filter(keys.is_live()).values_list("pk", flat=True))


def owners(tenant: Tenant) -> int:
    """How many owners there are."""
    with scope(tenant.organization):
        return Membership.objects.filter(role=Role.OWNER).count()


@pytest.mark.parametrize("role", [role for role in Role if role != Role.OWNER])
def test_the_last_owner_cannot_step_down(role: Role, tenant: Tenant) -> None:
    add_member(tenant, Role.ADMIN)
    with pytest.raises(members.LastOwner):
        change(tenant, tenant.owner, role)


def test_the_last_owner_can_neither_leave_nor_be_removed(tenant: Tenant) -> None:
    add_member(tenant, Role.ADMIN)
    for acting in (tenant.actor, Actor("staff", "s", "Support")):
        with pytest.raises(members.LastOwner):
            remove(tenant, tenant.owner, acting=acting)
    assert owners(tenant) == 1


def test_an_owner_whose_account_is_switched_off_does_not_count(tenant: Tenant) -> None:
    other = add_member(tenant, Role.OWNER)
    User.objects.filter(pk=other.pk).update(is_active=False)
    with pytest.raises(members.LastOwner):
        remove(tenant, tenant.owner)


def test_an_owner_leaves_once_there_is_another(tenant: Tenant) -> None:
    other = add_member(tenant, Role.MEMBER)
    change(tenant, other, Role.OWNER)
    assert remove(tenant, tenant.owner) == 1
    assert access.memberships(tenant.owner) == []
    with scope(tenant.organization):
        assert selectors.events(action=actions.MEMBER_LEFT.name)[0].target["id"] == str(tenant.owner.pk)


def test_two_owners_who_leave_at_once_leave_one(transactional_db: None) -> None:
    tenant = make_tenant()
    other = add_member(tenant, Role.OWNER)
    results = at_once(lambda: remove(tenant, tenant.owner), lambda: remove(tenant, other, acting=actor(other)))
    assert sorted(isinstance(result, members.LastOwner) for result in results) == [False, True]
    assert owners(tenant) == 1


def test_owners_who_step_down_leave_and_demote_each_other_at_once_leave_one(transactional_db: None) -> None:
    tenant = make_tenant()
    second, third = add_member(tenant, Role.OWNER), add_member(tenant, Role.OWNER)
    at_once(
        lambda: change(tenant, tenant.owner, Role.ADMIN),
        lambda: change(tenant, second, Role.MEMBER),
        lambda: remove(tenant, third),
        lambda: remove(tenant, second),
    )
    assert owners(tenant) >= 1


def test_a_removed_member_loses_every_key(tenant: Tenant) -> None:
    member = add_member(tenant, Role.MEMBER)
    own = key_of(tenant, member, Role.MEMBER, [KeyScope.MEMORY_READ, KeyScope.KEYS_WRITE])
    below = key_of(tenant, member, Role.MEMBER, [KeyScope.MEMORY_READ], parent=own)
    lowest = key_of(tenant, member, Role.MEMBER, [KeyScope.MEMORY_READ], parent=below)
    assert living(tenant) == {tenant.key.pk, own.pk, below.pk, lowest.pk}
    assert remove(tenant, member) == 3
    assert living(tenant) == {tenant.key.pk}
    assert access.memberships(member) == []
    with scope(tenant.organization):
        assert selectors.events(action=actions.MEMBER_REMOVED.name)[0].metadata == {"keys_revoked": 3}


def test_a_demotion_ends_the_keys_that_outrank_it_and_what_is_below_them(tenant: Tenant) -> None:
    member = add_member(tenant, Role.ADMIN)
    outranking = key_of(tenant, member, Role.ADMIN, [KeyScope.MEMORY_READ, KeyScope.AUDIT_READ])
    below = key_of(tenant, member, Role.ADMIN, [KeyScope.MEMORY_READ], parent=outranking)
    modest = key_of(tenant, member, Role.ADMIN, [KeyScope.MEMORY_READ])
    change(tenant, member, Role.MEMBER)
    assert living(tenant) == {tenant.key.pk, modest.pk}
    assert below.pk not in living(tenant)
    with scope(tenant.organization):
        [event] = selectors.events(action=actions.MEMBER_ROLE_CHANGED.name)
    assert (event.changes, event.metadata) == ({"role": ["admin", "member"]}, {"keys_revoked": 2})


def test_a_promotion_ends_no_key_and_the_same_role_changes_nothing(tenant: Tenant) -> None:
    member = add_member(tenant, Role.MEMBER)
    key = key_of(tenant, member, Role.MEMBER, [KeyScope.MEMORY_READ])
    change(tenant, member, Role.MEMBER)
    with scope(tenant.organization):
        assert selectors.events(action=actions.MEMBER_ROLE_CHANGED.name) == []
    assert change(tenant, member, Role.ADMIN).role == Role.ADMIN
    assert key.pk in living(tenant)


@pytest.mark.parametrize("by", [Role.MEMBER, Role.VIEWER, Role.BILLING])
def test_only_owners_and_admins_change_members(by: Role, tenant: Tenant) -> None:
    member = add_member(tenant, Role.VIEWER)
    with pytest.raises(Forbidden):
        change(tenant, member, Role.MEMBER, by=by)
    with pytest.raises(Forbidden):
        remove(tenant, member, by=by)


def test_an_admin_neither_makes_nor_unmakes_owners(tenant: Tenant) -> None:
    owner, member = add_member(tenant, Role.OWNER), add_member(tenant, Role.MEMBER)
    for act in (
        lambda: change(tenant, member, Role.OWNER, by=Role.ADMIN),
        lambda: change(tenant, owner, Role.MEMBER, by=Role.ADMIN),
        lambda: remove(tenant, owner, by=Role.ADMIN),
    ):
        with pytest.raises(Forbidden):
            act()
    assert change(tenant, member, Role.BILLING, by=Role.ADMIN).role == Role.BILLING


def test_everybody_may_leave(tenant: Tenant) -> None:
    viewer = add_member(tenant, Role.VIEWER)
    assert remove(tenant, viewer, by=Role.VIEWER, acting=actor(viewer)) == 0


def test_members_of_others_are_not_found(tenant: Tenant, stranger: Tenant) -> None:
    for user in (stranger.owner, User(pk=uuid4())):
        with pytest.raises(NotFound):
            change(tenant, user, Role.MEMBER)
        with pytest.raises(NotFound):
            remove(tenant, user)


def test_an_unknown_role_is_refused(tenant: Tenant) -> None:
    with pytest.raises(Invalid):
        change(tenant, tenant.owner, "emperor")
