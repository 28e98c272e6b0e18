"""What people read of an organization's money goes by its own clock, which the time machine may have moved."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from billing.credits import services as credits_services
from billing.models import EntitlementOverride
from billing.selectors.snapshots import snapshot
from billing.selectors.so_far import so_far
from billing.services import entitlements
from tenancy.access import reset_key_cache
from tenancy.audit.services import SYSTEM
from tenancy.models import Organization
from tenancy.scope import scope
from tests.capsule_cloud.management.test_entitlements import staff
from tests.factories import Tenant

AHEAD = timedelta(days=40)


@pytest.fixture
def tenant(tenant: Tenant) -> Tenant:
    """An organization whose clock is 40 days ahead, with credits for 30 days and for 60, and data planes for 30."""
    with scope(tenant.organization):
        now = timezone.now()
        for days in (30, 60):
            credits_services.grant(
                actor=SYSTEM,
                amount=100 * days,
                currency="usd",
                category="adjustment",
                reason=f"For {days} days",
                ref=f"staff:{days}",
                expires_at=now + timedelta(days=days),
            )
        entitlements.grant_override(
            actor=SYSTEM, key="feature:data_planes", value=True, reason="A pilot", expires_at=now + timedelta(days=30)
        )
        Organization.objects.update(clock_ahead=AHEAD)
    reset_key_cache()
    return tenant


def test_the_credits_command_shows_what_is_left_by_then(tenant: Tenant) -> None:
    output = StringIO()
    call_command("credits", tenant.organization.slug, stdout=output)
    assert output.getvalue().startswith("$60.00 can be burned")
    assert "For 30 days" not in output.getvalue()


def test_the_credits_page_and_the_api_show_the_same(tenant: Tenant, client: Client) -> None:
    client.force_login(tenant.owner)
    text = client.get(f"/o/{tenant.organization.slug}/billing/credits/").content.decode()
    assert "$60.00" in text
    assert "$90.00" not in text
    assert client.get("/v1/billing/credits", headers=tenant.headers).json()["balance"] == 60_00


def test_what_is_granted_for_days_lasts_so_many_of_its_own(tenant: Tenant) -> None:
    by = ["--by", staff("Max").email, "--reason", "A pilot", "--days", "5"]
    call_command("entitlements", tenant.organization.slug, "--grant", "project_limit=7", *by, stdout=StringIO())
    with scope(tenant.organization):
        granted = EntitlementOverride.objects.get(key="project_limit")
    assert abs(granted.expires_at - timezone.now() - AHEAD - timedelta(days=5)) < timedelta(minutes=1)


def test_what_was_granted_until_then_is_over(tenant: Tenant) -> None:
    with scope(tenant.organization):
        assert so_far().entitled.overrides == ()
        signed = snapshot()
    assert "data_planes" not in signed.entitlements["features"]
    issued = signed.entitlements["issued_at"]
    assert issued <= timezone.now().isoformat(), "a data plane has no other clock than the real one"
