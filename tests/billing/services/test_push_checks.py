"""What was used, what was pushed and what Stripe's meters hold are one number, or somebody is told."""

import logging
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.models import MeterPush, Subscription
from billing.plans import Allowance
from billing.sandbox.models import MeteredEvent
from billing.services.meter_pushes import collect, deliver
from billing.services.push_checks import Difference, check_all, differences
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.factories import Tenant


@pytest.fixture
def pushed(tenant: Tenant, buy: Buy) -> Tenant:
    """A tenant of whose 12 operations, five hours ago, Stripe knows."""
    buy(tenant)
    hour: datetime = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)
    with scope(tenant.organization):
        Subscription.objects.update(created_at=hour - timedelta(days=2))
        for meter, quantity in ((Meter.INGEST, 7), (Meter.RECALL, 5)):
            UsageHour.objects.create(
                project_id=tenant.project.pk, key_id=None, meter=meter, hour=hour, quantity=quantity, events=1
            )
    collect(organization_id=tenant.organization.pk)
    deliver(organization_id=tenant.organization.pk)
    return tenant


def test_what_agrees_is_no_difference(pushed: Tenant) -> None:
    assert differences(organization_id=pushed.organization.pk) == []


def test_what_stripe_has_lost_or_counts_twice_is_found(pushed: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    MeteredEvent.objects.filter(identifier__startswith=f"{pushed.organization.pk.hex}:ingest").update(value=14)
    with caplog.at_level(logging.ERROR, "billing"):
        assert check_all() == 1
    assert "used=12 pushed=12 stripe=19" in caplog.text


def test_what_was_never_pushed_is_found(pushed: Tenant) -> None:
    with scope(pushed.organization):
        MeterPush.objects.filter(meter="recall").update(delivered_at=None)
    [found] = differences(organization_id=pushed.organization.pk)
    assert found == Difference(Allowance.OPERATIONS, used=12, pushed=7, at_stripe=12)


def test_without_a_subscription_there_is_nothing_to_compare(tenant: Tenant) -> None:
    assert differences(organization_id=tenant.organization.pk) == []
