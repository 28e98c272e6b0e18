"""Roles in single projects add to the one in the organization, end with it, and bound the keys of whoever has them."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.access import memberships
from tenancy.audit import actions, selectors
from tenancy.audit.services import Actor
from tenancy.errors import Forbidden, Invalid, NotFound
from tenancy.models import ApiKey, Project, User
from tenancy.roles import PROJECT_ROLES, RIGHTS, Right, Role, rights_in
from tenancy.scope import scope
from tenancy.services import keys, members, project_roles, projects
from tests.factories import Tenant, add_member


@pytest.fixture
def viewer(tenant: Tenant) -> User:
    """A member who only reads."""
    return add_member(tenant, Role.VIEWER)


@pytest.fixture
def other(tenant: Tenant) -> Project:
    """A second project."""
    with scope(tenant.organization):
        return projects.create(actor=tenant.actor, name="Other")


def give(tenant: Tenant, user: User, role: str, *, by: Role = Role.OWNER, project: UUID | None = None) -> None:
    """Give a role in the tenant's project, or in another."""
    with scope(tenant.organization):
        project_roles.give(
            actor=tenant.actor, actor_role=by, user_id=user.pk, project_id=project or tenant.project.pk, role=role
        )


def key_of(tenant: Tenant, user: User, project: Project) -> ApiKey:
    """A key that writes memories, made by the person."""
    maker = keys.Maker(Actor("user", str(user.pk), user.email), user=user)
    with scope(tenant.organization):
        return keys.create(maker=maker, project_id=project.pk, name="k", scopes=["memory:write"]).key


def is_live(tenant: Tenant, key: ApiKey) -> bool:
    """Whether a key can be used."""
    with scope(tenant.organization):
        return ApiKey.objects.filter(keys.is_live(), pk=key.pk).exists()


def roles_of(user: User) -> dict[str, Role]:
    """What somebody is in projects."""
    [member] = memberships(user)
    return dict(member.project_roles)


@given(role=st.sampled_from(Role), project_role=st.sampled_from(PROJECT_ROLES))
def test_a_role_in_a_project_only_adds_and_only_what_is_about_a_project(role: Role, project_role: Role) -> None:
    both = rights_in(role, project_role)
    assert both >= RIGHTS[role]
    assert all(right.split(":")[0] in {"projects", "keys", "memory"} for right in both - RIGHTS[role])
    assert role is not Role.BILLING or both == RIGHTS[role]


def test_a_viewer_with_a_role_in_a_project_makes_keys_there_and_nowhere_else(
    tenant: Tenant, viewer: User, other: Project
) -> None:
    give(tenant, viewer, Role.MEMBER)
    assert is_live(tenant, key_of(tenant, viewer, tenant.project))
    with pytest.raises(Forbidden):
        key_of(tenant, viewer, other)
    [member] = memberships(viewer)
    assert not member.has(Right.KEYS_WRITE)
    assert member.in_project(tenant.project.slug).has(Right.KEYS_WRITE)
    assert not member.in_project(other.slug).has(Right.KEYS_WRITE)


def test_keys_end_with_the_role_that_allowed_them(tenant: Tenant, viewer: User) -> None:
    give(tenant, viewer, Role.MEMBER)
    key = key_of(tenant, viewer, tenant.project)
    with scope(tenant.organization):
        ended = project_roles.take(
            actor=tenant.actor, actor_role=Role.ADMIN, user_id=viewer.pk, project_id=tenant.project.pk
        )
        [event] = selectors.events(action=actions.MEMBER_PROJECT_ROLE_CHANGED.name)[:1]
    assert (ended, is_live(tenant, key), roles_of(viewer)) == (1, False, {})
    assert event.changes == {"role": ["member", None]}


def test_a_lower_role_in_the_organization_spares_keys_that_a_role_in_the_project_allows(
    tenant: Tenant, other: Project
) -> None:
    member = add_member(tenant, Role.MEMBER)
    give(tenant, member, Role.MEMBER)
    kept, gone = key_of(tenant, member, tenant.project), key_of(tenant, member, other)
    with scope(tenant.organization):
        members.change_role(actor=tenant.actor, actor_role=Role.OWNER, user_id=member.pk, role=Role.VIEWER)
    assert (is_live(tenant, kept), is_live(tenant, gone)) == (True, False)


@pytest.mark.parametrize("by", [Role.MEMBER, Role.VIEWER, Role.BILLING])
def test_who_does_not_look_after_members_gives_and_takes_none(tenant: Tenant, viewer: User, by: Role) -> None:
    with pytest.raises(Forbidden):
        give(tenant, viewer, Role.VIEWER, by=by)
    give(tenant, viewer, Role.VIEWER)
    with pytest.raises(Forbidden), scope(tenant.organization):
        project_roles.take(actor=tenant.actor, actor_role=by, user_id=viewer.pk, project_id=tenant.project.pk)


def test_what_is_no_role_in_a_project_no_member_and_no_project_is_refused(
    tenant: Tenant, stranger: Tenant, viewer: User
) -> None:
    with pytest.raises(Invalid):
        give(tenant, viewer, Role.OWNER)
    with pytest.raises(NotFound):
        give(tenant, stranger.owner, Role.VIEWER)
    with pytest.raises(NotFound):
        give(tenant, viewer, Role.VIEWER, project=stranger.project.pk)
    with pytest.raises(NotFound), scope(tenant.organization):
        project_roles.take(actor=tenant.actor, actor_role=Role.OWNER, user_id=viewer.pk, project_id=tenant.project.pk)


def test_groups_give_change_and_take_their_own_roles_and_leave_those_given_by_hand(
    tenant: Tenant, viewer: User, other: Project
) -> None:
    give(tenant, viewer, Role.VIEWER)
    actor = Actor("system", "groups", "Groups")

    def managed(roles: dict[UUID, Role]) -> bool:
        with scope(tenant.organization):
            return project_roles.set_managed(actor=actor, user_id=viewer.pk, roles=roles)

    by_hand = {tenant.project.slug: Role.VIEWER}
    assert managed({tenant.project.pk: Role.ADMIN, other.pk: Role.MEMBER, uuid4(): Role.ADMIN})
    assert roles_of(viewer) == by_hand | {other.slug: Role.MEMBER}
    assert not managed({other.pk: Role.MEMBER})
    key = key_of(tenant, viewer, other)
    assert managed({other.pk: Role.VIEWER})
    assert not is_live(tenant, key)
    assert managed({})
    assert roles_of(viewer) == by_hand


def test_an_archived_project_gives_nobody_anything(tenant: Tenant, viewer: User, other: Project) -> None:
    give(tenant, viewer, Role.ADMIN, project=other.pk)
    with scope(tenant.organization):
        projects.archive(actor=tenant.actor, project_id=other.pk)
        actor = Actor("system", "groups", "Groups")
        assert not project_roles.set_managed(actor=actor, user_id=viewer.pk, roles={other.pk: Role.ADMIN})
    assert roles_of(viewer) == {}
