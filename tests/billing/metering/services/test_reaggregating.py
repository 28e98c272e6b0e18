"""Hours that do not add up are made right on demand."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.metering.services import Use, record
from billing.metering.services.sums import reaggregate
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.factories import Tenant
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
