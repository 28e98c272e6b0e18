"""The console keeps to an unpaid bill as the API does."""

import pytest
from django.test import Client

from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.services import sessions
from tenancy.models import Organization
from tenancy.scope import scope
from tests.factories import Tenant

TURN = sessions.TurnPair("I like tea.", "Noted.")


@pytest.fixture
def capsule_id(tenant: Tenant) -> str:
    """A capsule of the tenant's."""
    with scope(tenant.organization):
        sessions.ingest(
            organization_id=tenant.organization.pk,
            project_id=tenant.project.pk,
            session_id="s1",
            turns=[TURN],
            actor=tenant.actor,
        )
        sessions.seal(project_id=tenant.project.pk, session_id="s1", actor=tenant.actor)
        return Capsule.objects.get().capsule_id


@pytest.mark.parametrize("access", [Organization.Access.READ_ONLY, Organization.Access.SUSPENDED])
def test_an_unpaid_bill_keeps_the_console_from_writing_and_leaves_the_way_out(
    tenant: Tenant, owner: Client, home: str, capsule_id: str, access: str
) -> None:
    with scope(tenant.organization):
        Organization.objects.update(access=access)
    refused = owner.post(home + "memory/default/pin/", {"id": capsule_id, "is_pinned": "1"}, follow=True)
    assert "invoice is" in refused.content.decode()
    with scope(tenant.organization):
        assert not Capsule.objects.get().is_pinned
    exported = owner.post(home + "memory/default/export/", {"id": capsule_id, "file_format": "json"})
    assert "attachment" in exported.headers["Content-Disposition"]
    with scope(tenant.organization):
        Organization.objects.update(access=Organization.Access.FULL)
    owner.post(home + "memory/default/pin/", {"id": capsule_id, "is_pinned": "1"})
    with scope(tenant.organization):
        assert Capsule.objects.get().is_pinned
