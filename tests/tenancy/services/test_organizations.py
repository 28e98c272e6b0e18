"""Organizations are created, changed, closed, restored and purged."""

import logging
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import DatabaseError
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.errors import InsufficientPrivilege

from capsule_cloud.lib import crypto
from tenancy import access, tasks
from tenancy.audit import actions, selectors
from tenancy.audit.services import Actor
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.models import Membership, Organization, OrganizationPurge, Project, User
from tenancy.roles import Role
from tenancy.scope import Owned, scope
from tenancy.services import organizations
from tests.factories import Tenant, make_tenant, make_user
from tests.raw import connect, plant, rows_of
from tests.sealing import forget_trail
from tests.threads import at_once

OWNED = [model for model in apps.get_models() if issubclass(model, Owned)]
GRACE = timedelta(days=30)


def age(tenant: Tenant, closed_for: timedelta) -> None:
    """Close the organization as if it had been a while ago."""
    with scope(tenant.organization):
        organizations.close(actor=tenant.actor)
        Organization.objects.update(closed_at=timezone.now() - closed_for)


def recorded() -> list[str]:
    """The names of the actions in the trail of the organization in scope, newest first."""
    return [event.action for event in selectors.events()]


@pytest.mark.django_db
def test_a_new_organization_has_its_maker_as_owner_a_project_and_a_key_to_sign_with() -> None:
    user = make_user()
    organization = organizations.create(user=user, name="  Acme & Sons  ", region="us")
    assert (organization.name, organization.region) == ("Acme & Sons", "us")
    assert organization.slug.startswith("acme-sons")
    with scope(organization):
        assert [(m.user_id, m.role) for m in Membership.objects.all()] == [(user.pk, Role.OWNER)]
        assert Project.objects.get().slug == "default"
        assert recorded() == [actions.ORGANIZATION_CREATED.name]
        assert len(crypto.unseal(Organization.objects.get().signing_key)) == 32


@pytest.mark.django_db
def test_a_taken_slug_gets_a_tail() -> None:
    name = f"Twin {uuid.uuid4().hex[:8]}"
    first, second = (organizations.create(user=make_user(), name=name) for _ in range(2))
    assert second.slug.startswith(f"{first.slug}-")
    assert first.name == second.name


@pytest.mark.django_db
def test_a_name_whose_slugs_are_all_taken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    name, tail = f"Full {uuid.uuid4().hex[:8]}", uuid.uuid4()
    monkeypatch.setattr("uuid_utils.compat.uuid4", lambda: tail)
    for _ in range(2):
        organizations.create(user=make_user(), name=name)
    with pytest.raises(Conflict):
        organizations.create(user=make_user(), name=name)


def test_organizations_that_race_for_a_slug_all_get_one(transactional_db: None) -> None:
    name, user = f"Race {uuid.uuid4().hex[:8]}", make_user()
    made = at_once(*[lambda: organizations.create(user=user, name=name)] * 4)
    assert len({organization.slug for organization in made}) == 4


@pytest.mark.django_db
@pytest.mark.parametrize("slug", sorted(organizations.RESERVED_SLUGS))
def test_a_reserved_slug_is_never_given(slug: str) -> None:
    assert organizations.create(user=make_user(), name=slug).slug != slug


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["東京メモリー", "Ωmega", "🧠", "مذكرة", "é" * 120, "-", "a" * 120])
def test_every_script_makes_a_name(name: str) -> None:
    organization = organizations.create(user=make_user(), name=name)
    assert organization.name == name
    assert organization.slug


@pytest.mark.django_db
@pytest.mark.parametrize(
    "name", ["", "   ", "a" * 121, "a\0b", "a\nb", "a\r\nBcc: x@example.com", "a\u2028b", "\ud800"]
)
def test_a_name_that_cannot_be_shown_on_one_line_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as refusal:
        organizations.create(user=make_user(), name=name)
    assert refusal.value.field == "name"


@given(name=st.text(max_size=130))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_name_is_either_taken_whole_or_refused(name: str, tenant: Tenant) -> None:
    with scope(tenant.organization):
        try:
            changed = organizations.update(actor=tenant.actor, name=name)
        except Invalid:
            return
        assert changed.name == name.strip()


@pytest.mark.django_db
def test_an_unknown_region_is_refused() -> None:
    with pytest.raises(Invalid) as refusal:
        organizations.create(user=make_user(), name="Acme", region="moon")
    assert refusal.value.field == "region"


def test_a_change_is_recorded_and_no_change_is_not(tenant: Tenant) -> None:
    with scope(tenant.organization):
        organizations.update(actor=tenant.actor, name="New", is_mfa_required=True)
        [event] = selectors.events(action=actions.ORGANIZATION_UPDATED.name)
        assert event.changes == {"name": [tenant.organization.name, "New"], "is_mfa_required": [False, True]}
        organizations.update(actor=tenant.actor, name="New ", is_mfa_required=True)
        organizations.update(actor=tenant.actor)
        assert len(selectors.events(action=actions.ORGANIZATION_UPDATED.name)) == 1
        assert Organization.objects.get().is_mfa_required


def test_closing_ends_keys_at_once_and_restoring_brings_everything_back(tenant: Tenant) -> None:
    assert tenant.principal.key_id == tenant.key.pk
    with scope(tenant.organization):
        organizations.close(actor=tenant.actor)
        organizations.close(actor=tenant.actor)
        assert recorded().count(actions.ORGANIZATION_CLOSED.name) == 1
    access.reset_key_cache()
    with pytest.raises(access.InvalidKey):
        access.authenticate_key(f"Bearer {tenant.secret}", "127.0.0.1")
    [member] = access.memberships(tenant.owner)
    assert member.closed_at is not None
    with scope(tenant.organization):
        organizations.restore(actor=tenant.actor)
        organizations.restore(actor=tenant.actor)
        assert recorded().count(actions.ORGANIZATION_RESTORED.name) == 1
    access.reset_key_cache()
    assert tenant.principal.key_id == tenant.key.pk


def test_nothing_is_purged_within_the_grace(tenant: Tenant) -> None:
    age(tenant, GRACE - timedelta(minutes=1))
    assert tenant.organization.pk not in {purge.organization_id for purge in organizations.purge_due()}
    with scope(tenant.organization):
        assert Organization.objects.exists()


def test_a_purge_deletes_every_row_counts_it_and_touches_nobody_else(transactional_db: None) -> None:
    gone, kept = make_tenant(), make_tenant()
    for model in OWNED:
        for tenant in (gone, kept):
            plant(model._meta.db_table, "organization_id", tenant.organization.pk)
    age(gone, GRACE + timedelta(minutes=1))
    with connect("superuser") as server:  # what is planted stands, and a legal hold would keep everything
        server.execute("UPDATE audit_audithold SET released_at = now()")
    before = {model: rows_of(model._meta.db_table, "organization_id", kept.organization.pk) for model in OWNED}
    expected = {m._meta.label: len(rows_of(m._meta.db_table, "organization_id", gone.organization.pk)) for m in OWNED}
    tasks.purge_closed_organizations()
    proof = OrganizationPurge.objects.get(organization_id=gone.organization.pk)
    assert proof.counts == expected | {"tenancy.Organization": 1}
    assert min(proof.counts.values()) >= 1
    assert proof.slug == gone.organization.slug
    assert str(proof).startswith(f"{gone.organization.slug} 20")
    for model in OWNED:
        assert rows_of(model._meta.db_table, "organization_id", gone.organization.pk) == []
        assert rows_of(model._meta.db_table, "organization_id", kept.organization.pk) == before[model]
    assert access.memberships(gone.owner) == []
    assert User.objects.filter(pk=gone.owner.pk).exists()
    assert kept.principal.key_id == kept.key.pk
    forget_trail(kept.organization.pk)  # its tree is made up


def test_a_purged_organization_cannot_be_restored(tenant: Tenant) -> None:
    age(tenant, GRACE + timedelta(minutes=1))
    organizations.purge_due()
    with scope(tenant.organization), pytest.raises(NotFound):
        organizations.restore(actor=tenant.actor)


def test_two_workers_purge_an_organization_once(transactional_db: None) -> None:
    tenant = make_tenant()
    age(tenant, GRACE + timedelta(minutes=1))
    at_once(organizations.purge_due, organizations.purge_due, organizations.purge_due)
    assert OrganizationPurge.objects.filter(organization_id=tenant.organization.pk).count() == 1


def test_one_that_cannot_be_purged_does_not_keep_the_others(
    transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, gone = make_tenant(), make_tenant()
    age(stuck, 3 * GRACE)
    age(gone, 2 * GRACE)
    with connect("superuser") as server:
        server.execute("CREATE TABLE IF NOT EXISTS test_holder (organization_id uuid REFERENCES tenancy_organization)")
        server.execute("INSERT INTO test_holder VALUES (%s)", [stuck.organization.pk])
        with caplog.at_level(logging.ERROR), pytest.raises(organizations.PurgeFailed) as failure:
            organizations.purge_due()
        server.execute("DROP TABLE test_holder")
    assert stuck.organization.pk in failure.value.organization_ids
    assert "organization.purge_failed" in caplog.text
    assert not OrganizationPurge.objects.filter(organization_id=stuck.organization.pk).exists()
    assert OrganizationPurge.objects.filter(organization_id=gone.organization.pk).exists()
    assert rows_of("tenancy_project", "organization_id", stuck.organization.pk)
    organizations.purge_due()
    assert OrganizationPurge.objects.filter(organization_id=stuck.organization.pk).exists()


@pytest.mark.parametrize(
    "change", ["UPDATE tenancy_organizationpurge SET counts = '{}'", "DELETE FROM tenancy_organizationpurge"]
)
def test_the_proof_of_a_purge_stays_as_it_was_written(change: str, django_db_setup: None) -> None:
    with connect("app") as app, pytest.raises(InsufficientPrivilege):
        app.execute(change.encode())


def test_an_organization_ends_when_its_creation_fails(transactional_db: None) -> None:
    nobody = User(email=f"{uuid.uuid4().hex}@example.com")
    name = f"Never {uuid.uuid4().hex[:8]}"
    with pytest.raises(DatabaseError):
        organizations.create(user=nobody, name=name)
    with connect("superuser") as server:
        assert server.execute("SELECT count(*) FROM tenancy_organization WHERE name = %s", [name]).fetchone() == (0,)


@pytest.mark.parametrize("act", [organizations.update, organizations.close, organizations.restore])
@pytest.mark.django_db
def test_nothing_happens_to_an_organization_that_is_not_there(act: Any) -> None:
    with scope(uuid.uuid4()), pytest.raises(NotFound):
        act(actor=Actor("system", "", ""))
