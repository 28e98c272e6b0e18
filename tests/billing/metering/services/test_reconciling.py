"""What does not add up is told with a number, and made right on demand."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing.metering import tasks
from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.metering.services import Use, record
from billing.metering.services.periods import close_period
from billing.metering.services.reconciling import Findings, reconcile
from billing.metering.services.sums import reaggregate
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.factories import Tenant
from tests.raw import connect
from tests.sums import catch_up
from tests.threads import at_once

Counting = Callable[..., Use]
NOW = timezone.now()
SPAN = {"since": NOW - timedelta(hours=3), "until": NOW + timedelta(hours=3)}


@pytest.fixture
def counted(committed: Tenant, use: Counting) -> Tenant:
    """Five recalls of a key, in the sums."""
    with scope(committed.organization):
        for _ in range(5):
            record(use())
    catch_up()
    return committed


def spoil(tenant: Tenant, **changes: Any) -> None:
    """Change the hour behind everybody's back."""
    with scope(tenant.organization):
        UsageHour.objects.update(**changes)


def mine(tenant: Tenant, findings: Findings) -> list[tuple[int, int]]:
    """The tenant's hours that differ: what the events come to, and the hour."""
    return [
        (one.event_quantity, one.hour_quantity)
        for one in findings.hours
        if one.organization_id == tenant.organization.pk
    ]


def alarms(tenant: Tenant) -> list[dict[str, Any]]:
    """What the trail says."""
    with scope(tenant.organization):
        found = AuditEvent.objects.filter(action=actions.USAGE_DIFFERENCE_FOUND.name)
        return list(found.values_list("metadata", flat=True))


def test_nothing_is_told_when_all_adds_up(counted: Tenant, use: Counting) -> None:
    with scope(counted.organization):
        record(use())  # not in the sums yet: that is no difference
    assert mine(counted, reconcile()) == []
    assert alarms(counted) == []


def test_a_difference_is_told_with_its_number(counted: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    spoil(counted, quantity=3)
    tasks.reconcile_usage(anything="later")
    assert alarms(counted) == [{"hours": 1, "events": 5, "summed": 3}]
    assert f"metering.difference organization={counted.organization.pk} hours=1 events=5 summed=3" in caplog.text
    spoil(counted, quantity=5)
    assert mine(counted, reconcile()) == []


def test_a_closed_period_that_its_events_deny_is_told(counted: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    with scope(counted.organization):
        period = close_period(actor=counted.actor, **SPAN, now=SPAN["until"] + timedelta(days=2))
    assert period.pk not in reconcile().periods
    with connect("superuser") as server:
        server.execute("DELETE FROM metering_usageevent WHERE organization_id = %s", [counted.organization.pk])
    assert period.pk in reconcile().periods
    assert {"period": str(period.pk)} in alarms(counted)
    spoil(counted, quantity=0)
    with connect("superuser") as server:  # or every later test of this database would find it again
        server.execute("DELETE FROM metering_usageperiod WHERE id = %s", [period.pk])
        server.execute("DELETE FROM metering_usagehour WHERE organization_id = %s", [counted.organization.pk])


@pytest.mark.parametrize("spoiled", ["changed", "gone", "invented"])
def test_hours_are_made_what_their_events_say(spoiled: str, counted: Tenant) -> None:
    with scope(counted.organization):
        if spoiled == "changed":
            UsageHour.objects.update(quantity=77, events=1)
        elif spoiled == "gone":
            UsageHour.objects.all().delete()
        else:
            UsageHour.objects.create(
                organization_id=counted.organization.pk,
                project_id=counted.project.pk,
                meter=Meter.SEAL,
                hour=NOW.replace(minute=0, second=0, microsecond=0),
                quantity=4,
                events=4,
            )
        assert len(reaggregate(actor=counted.actor, repair=False, **SPAN)) == 1
        assert len(reaggregate(actor=counted.actor, repair=True, **SPAN)) == 1
        assert reaggregate(actor=counted.actor, repair=True, **SPAN) == []
        [hour] = UsageHour.objects.all()
        [told] = AuditEvent.objects.filter(action=actions.USAGE_REAGGREGATED.name)
    assert (hour.quantity, hour.events, hour.meter) == (5, 5, "recall")
    assert told.metadata["hours"] == 1


def test_a_repair_at_the_same_time_as_roll_ups_adds_nothing_twice(counted: Tenant, use: Counting) -> None:
    def write() -> None:
        for _ in range(20):
            with scope(counted.organization):
                record(use())

    def repair() -> None:
        for _ in range(10):
            with scope(counted.organization):
                UsageHour.objects.update(quantity=1)
            with scope(counted.organization):
                reaggregate(actor=counted.actor, repair=True, **SPAN)

    assert at_once(write, repair, write, catch_up, catch_up) == [None] * 5
    catch_up()
    with scope(counted.organization):
        [hour] = UsageHour.objects.all()
    assert (hour.quantity, hour.events) == (45, 45)


def test_the_command_shows_the_difference_and_repairs_it(counted: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(counted, quantity=3)
    words = ["--organization", str(counted.organization.pk)]
    words += ["--since", f"{SPAN['since']:%Y-%m-%dT%H:%M}", "--until", SPAN["until"].isoformat()]
    with pytest.raises(SystemExit):
        call_command("reaggregate_usage", *words)
    said = capsys.readouterr().out
    assert "events 5 (5), hour 3 (5)" in said
    assert "1 hours different" in said
    call_command("reaggregate_usage", *words, "--repair")
    assert "1 hours repaired" in capsys.readouterr().out
    call_command("reaggregate_usage", *words)
    assert capsys.readouterr().out == "0 hours different\n"
    with pytest.raises(CommandError):
        call_command("reaggregate_usage", "--organization", str(counted.organization.pk))
