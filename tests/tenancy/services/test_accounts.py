"""What belongs to a person, and what their organizations hear of it."""

from typing import Any

import pytest

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Invalid
from tenancy.models import Membership
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import accounts
from tests.factories import Tenant
from tests.trail import audited


def renames(tenant: Tenant) -> list[Any]:
    with scope(tenant.organization):
        return [event.changes for event in audited(actions.ACCOUNT_RENAMED.name)]


def test_every_organization_of_a_person_hears_their_new_name(tenant: Tenant, stranger: Tenant) -> None:
    with scope(stranger.organization):
        Membership.objects.create(user=tenant.owner, role=Role.VIEWER)
    accounts.rename(user=tenant.owner, name="  Ada Lovelace ")
    tenant.owner.refresh_from_db()
    assert tenant.owner.get_full_name() == "Ada Lovelace"
    assert renames(tenant) == renames(stranger) == [{"name": ["Ada", "Ada Lovelace"]}]
    with scope(tenant.organization):
        event = AuditEvent.objects.get(action=actions.ACCOUNT_RENAMED.name)
    assert event.actor["id"] == event.target["id"] == str(tenant.owner.pk)


def test_the_same_name_again_is_no_news(tenant: Tenant) -> None:
    accounts.rename(user=tenant.owner, name="Ada")
    assert renames(tenant) == []


@pytest.mark.parametrize("name", ["", "   ", "x" * 121, "Ada\nBcc: eve@example.com", "Ada\x00"])
def test_a_name_that_cannot_be_shown_is_refused(tenant: Tenant, name: str) -> None:
    with pytest.raises(Invalid):
        accounts.rename(user=tenant.owner, name=name)
    tenant.owner.refresh_from_db()
    assert tenant.owner.name == "Ada"
    assert renames(tenant) == []
