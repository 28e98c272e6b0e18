"""The console draws on the same allowance as the API, and says so at a cap."""

import pytest
from django.test import Client

from billing.metering.meters import Meter
from billing.metering.services import Use
from billing.quotas import parking
from billing.quotas.models import ParkedWrite
from billing.quotas.services import QuotaReached, admit
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.services import sessions
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.quotas.conftest import used
from tests.factories import PASSWORD, Tenant

TURN = sessions.TurnPair("I like tea.", "Noted.")


def test_at_a_cap_the_console_writes_nothing_and_says_why(tenant: Tenant, owner: Client, home: str) -> None:
    with scope(tenant.organization):
        sessions.ingest(
            organization_id=tenant.organization.pk,
            project_id=tenant.project.pk,
            session_id="s1",
            turns=[TURN],
            actor=tenant.actor,
        )
        Organization.objects.update(operation_limit=1)
    sealed = {"id": "s1"}
    admit(Use(tenant.organization.pk, tenant.project.pk, None, Meter.INGEST))
    answer = owner.post(home + "sessions/default/seal/", sealed, follow=True)
    assert "has used its 1 operations of this billing period" in answer.content.decode()
    with scope(tenant.organization):
        assert not Capsule.objects.exists()
        Organization.objects.update(operation_limit=2)
    assert "sealed into a capsule" in owner.post(home + "sessions/default/seal/", sealed, follow=True).content.decode()
    assert used(tenant) == 2


def test_an_end_user_deleted_in_the_console_does_not_come_back(tenant: Tenant, owner: Client, home: str) -> None:
    with scope(tenant.organization):
        Organization.objects.update(operation_limit=0)
    use = Use(tenant.organization.pk, tenant.project.pk, None, Meter.INGEST)
    with pytest.raises(QuotaReached) as refused:
        admit(use)
    refused.value.may_park = True  # as a cap that parks says
    parking.park_ingest(refused.value, actor=tenant.actor, session_id="s1", turns=[TURN], user_id="dana")
    with scope(tenant.organization):
        assert ParkedWrite.objects.count() == 1
    owner.post("/account/reauthenticate/", {"password": PASSWORD})
    owner.post(home + "memory/default/forget/", {"user": "dana", "confirmation": "dana"})
    with scope(tenant.organization):
        assert not ParkedWrite.objects.exists()
