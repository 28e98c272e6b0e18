"""Reads of an organization's own things."""

from datetime import timedelta

from django.utils import timezone

from tenancy import selectors
from tenancy.audit.services import Actor
from tenancy.models import ApiKey
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import invitations, keys, projects
from tests.factories import Tenant, add_member


def test_projects_are_listed_oldest_first_without_archived_ones(tenant: Tenant, stranger: Tenant) -> None:
    with scope(tenant.organization):
        second, third = (projects.create(actor=tenant.actor, name=name) for name in ("Second", "Third"))
        projects.archive(actor=tenant.actor, project_id=second.pk)
        assert selectors.projects() == [tenant.project, third]
        assert selectors.organization() == tenant.organization


def test_members_are_listed_with_their_users(tenant: Tenant, stranger: Tenant) -> None:
    user = add_member(tenant, Role.VIEWER)
    with scope(tenant.organization):
        assert [member.user for member in selectors.members()] == [tenant.owner, user]


def test_open_invitations_include_expired_ones(tenant: Tenant) -> None:
    with scope(tenant.organization):
        first, second, third = (
            invitations.create(actor=tenant.actor, actor_role=Role.OWNER, email=f"{n}@example.com", role="member")
            for n in range(3)
        )
        invitations.revoke(actor=tenant.actor, invitation_id=first.pk)
        second.expires_at = timezone.now() - timedelta(days=1)
        second.save()
        assert selectors.open_invitations() == [third, second]


def test_ended_keys_are_listed_on_demand(tenant: Tenant) -> None:
    with scope(tenant.organization):
        maker = keys.Maker(tenant.actor, user=tenant.owner, role=Role.OWNER)
        other = projects.create(actor=tenant.actor, name="Other")
        revoked, expired, elsewhere = (
            keys.create(maker=maker, project_id=project.pk, name="k", scopes=["memory:read"]).key
            for project in (tenant.project, tenant.project, other)
        )
        keys.revoke(actor=tenant.actor, key_id=revoked.pk)
        ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
        assert selectors.keys() == [elsewhere, tenant.key]
        assert selectors.keys(project_id=tenant.project.pk) == [tenant.key]
        assert selectors.keys(with_ended=True) == [elsewhere, expired, revoked, tenant.key]


def test_the_first_steps_are_ticked_off_as_they_are_taken(tenant: Tenant) -> None:
    with scope(tenant.organization):
        assert selectors.first_steps() == selectors.FirstSteps(has_key=True, has_used_key=False, has_colleague=False)
        ApiKey.objects.update(last_used_at=timezone.now())
    add_member(tenant, Role.VIEWER)
    with scope(tenant.organization):
        assert selectors.first_steps() == selectors.FirstSteps(has_key=True, has_used_key=True, has_colleague=True)


def test_what_things_are_called(tenant: Tenant) -> None:
    assert str(tenant.owner) == tenant.owner.email
    assert tenant.owner.get_full_name() == "Ada"
    tenant.owner.name = ""
    assert tenant.owner.get_full_name() == tenant.owner.email
    assert str(tenant.organization) == tenant.organization.slug
    assert str(tenant.project) == "default"
    assert str(tenant.key).startswith(tenant.key.hint)
    with scope(tenant.organization):
        assert str(selectors.members()[0]) == f"{tenant.owner.pk} owner"
        invited = invitations.create(
            actor=Actor("user", "", "x"), actor_role=Role.OWNER, email="n@example.com", role="viewer"
        )
        assert str(invited) == "n@example.com viewer"
