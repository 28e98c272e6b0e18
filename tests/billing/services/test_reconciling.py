"""Events, hours, closed periods and Stripe's meters say one number, or somebody is told all of them."""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.invoicing.services import close_due
from billing.metering.meters import Meter
from billing.metering.models import UsageEvent, UsageHour, UsagePeriod
from billing.metering.services import Use, record
from billing.models import MeterPush, Subscription
from billing.periods import month_of
from billing.sandbox.models import MeteredEvent
from billing.services.meter_pushes import collect, deliver
from billing.services.reconciling import Difference, reconcile
from billing.tasks import reconcile_usage
from tenancy.audit import actions
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.factories import Tenant, make_tenant
from tests.raw import connect
from tests.sums import catch_up
from tests.trail import audited

HOUR: datetime = timezone.now().replace(minute=0, second=0, microsecond=0)


@pytest.fixture
def counted(transactional_db: None) -> Iterator[Tenant]:
    """Five recalls of this hour, in the sums."""
    tenant = make_tenant()
    with scope(tenant.organization):
        for _ in range(5):
            record(Use(tenant.organization.pk, tenant.project.pk, None, Meter.RECALL))
    catch_up()
    yield tenant
    with connect("superuser") as server:  # or every later test of this database would find it again
        for table in ("usageadjustment", "usageperiod", "usagehour", "usageevent"):
            server.execute(f"DELETE FROM metering_{table} WHERE organization_id = %s", [tenant.organization.pk])


def mine(tenant: Tenant) -> list[Difference]:
    return [one for one in reconcile() if one.organization_id == tenant.organization.pk]


def alarms(tenant: Tenant) -> list[dict[str, Any]]:
    """What the trail says."""
    with scope(tenant.organization):
        return [event.metadata for event in audited(actions.USAGE_DIFFERENCE_FOUND.name)]


def test_nothing_is_told_when_all_adds_up(counted: Tenant) -> None:
    with scope(counted.organization):
        record(Use(counted.organization.pk, counted.project.pk, None, Meter.RECALL))  # not in the sums yet
    assert (mine(counted), alarms(counted)) == ([], [])


def test_a_difference_is_told_with_its_figures(counted: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    with scope(counted.organization):
        hour = UsageHour.objects.get().hour
        UsageHour.objects.update(quantity=3)
    reconcile_usage(anything="later")
    [said] = alarms(counted)
    assert {"meter": "recall", "events": 5, "hours": 3, "period": None, "pushed": 0}.items() <= said.items()
    assert (
        f"usage.differs organization={counted.organization.pk} meter=recall since={hour.isoformat()}"
        f" until={(hour + timedelta(hours=1)).isoformat()} events=5 hours=3 period=- pushed=0 stripe=-"
    ) in caplog.text
    with scope(counted.organization):
        UsageHour.objects.update(quantity=5)
    assert mine(counted) == []


def test_a_closed_period_that_its_events_deny_is_told(counted: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    month = month_of(timezone.now())
    close_due(now=month[1] + timedelta(days=2), only=counted.organization.pk)
    assert mine(counted) == []
    with connect("superuser") as server:
        server.execute(
            "DELETE FROM metering_usageevent WHERE ctid = (SELECT min(ctid) FROM metering_usageevent"
            " WHERE organization_id = %s)",
            [counted.organization.pk],
        )
        server.execute(
            "UPDATE metering_usagehour SET quantity = 4, events = 4 WHERE organization_id = %s",
            [counted.organization.pk],
        )
    wanted = Difference(counted.organization.pk, "recall", *month, events=4, hours=4, period=5)
    assert mine(counted) == [wanted]
    assert "events=4 hours=4 period=5" in caplog.text


def test_events_that_moved_to_another_project_are_told(counted: Tenant) -> None:
    month = month_of(timezone.now())
    close_due(now=month[1] + timedelta(days=2), only=counted.organization.pk)
    with connect("superuser") as server:
        for table in ("usageevent", "usagehour"):
            server.execute(
                f"UPDATE metering_{table} SET project_id = gen_random_uuid() WHERE organization_id = %s",
                [counted.organization.pk],
            )
    [told, *_] = [one for one in mine(counted) if one.period is not None]
    assert (told.events, told.hours, told.period) == (5, 5, 5)


@pytest.fixture
def pushed(tenant: Tenant, buy: Buy) -> Tenant:
    """A tenant of whose 12 operations, five hours ago, Stripe knows."""
    buy(tenant)
    hour = HOUR - timedelta(hours=5)
    with scope(tenant.organization):
        Subscription.objects.update(created_at=hour - timedelta(days=2))
        for meter, quantity in ((Meter.INGEST, 7), (Meter.RECALL, 5)):
            UsageEvent.objects.create(
                project_id=tenant.project.pk, meter=meter, quantity=quantity, occurred_at=hour, written_by=0
            )
            UsageHour.objects.create(
                project_id=tenant.project.pk, key_id=None, meter=meter, hour=hour, quantity=quantity, events=1
            )
    collect(organization_id=tenant.organization.pk)
    deliver(organization_id=tenant.organization.pk)
    return tenant


def test_what_stripe_holds_as_we_count_it_is_no_difference(pushed: Tenant) -> None:
    assert mine(pushed) == []


def test_what_stripe_has_lost_or_counts_twice_is_found(pushed: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    MeteredEvent.objects.filter(identifier__startswith=f"{pushed.organization.pk.hex}:ingest").update(value=14)
    with caplog.at_level(logging.ERROR, "billing"):
        [found] = mine(pushed)
    assert (found.meter, found.events, found.hours, found.pushed, found.stripe) == ("operations", 12, 12, 12, 19)
    assert "meter=operations" in caplog.text
    assert "events=12 hours=12 period=- pushed=12 stripe=19" in caplog.text


def test_what_was_never_pushed_is_found(pushed: Tenant) -> None:
    with scope(pushed.organization):
        MeterPush.objects.filter(meter="recall").update(delivered_at=None)
    [found] = mine(pushed)
    assert (found.hours, found.pushed, found.stripe) == (12, 7, 12)


def test_a_closed_period_is_in_the_check_as_long_as_it_is_new(counted: Tenant) -> None:
    close_due(now=month_of(timezone.now())[1] + timedelta(days=2), only=counted.organization.pk)
    with connect("superuser") as server:
        server.execute("DELETE FROM metering_usageevent WHERE organization_id = %s", [counted.organization.pk])
        server.execute("DELETE FROM metering_usagehour WHERE organization_id = %s", [counted.organization.pk])
    with scope(counted.organization):
        assert UsagePeriod.objects.exists()
    assert [one.period for one in mine(counted)] == [5]
    later = {one.organization_id for one in reconcile(now=timezone.now() + timedelta(days=4))}
    assert counted.organization.pk not in later
