"""Keeps the hourly sums what the events say."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection

from billing.metering.hours import hour_of
from billing.metering.models import UsageHour
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.scope import current_organization_id, unscoped

MOST_DIFFERENCES = 1_000


def roll_up(*, transactions: int = 200_000) -> int:
    """Add written events that are not in the hourly sums yet; returns how many were.

    What a transaction wrote is added once every older one has ended, so an event may have to wait for the next call;
    `selectors` count it meanwhile. Each step of so many transactions commits on its own.
    """
    total, is_done = 0, False
    with unscoped(reason="usage of every organization is rolled up in one stream") as wide:
        while not is_done:
            [step] = wide.rows("metering_roll_up", transactions)
            total += step["added"]
            is_done = step["is_done"]
    return total


@dataclass(frozen=True, slots=True)
class Difference:
    """An hour of a meter, project and key whose events do not come to its sum; quantities and numbers of events."""

    organization_id: UUID
    project_id: UUID
    key_id: UUID | None
    meter: str
    hour: datetime
    event_quantity: int
    event_count: int
    hour_quantity: int
    hour_count: int


def differences(since: datetime, until: datetime, organization_id: UUID | None = None) -> list[Difference]:
    """Where hours and their events differ, of one organization or of all; at most MOST_DIFFERENCES."""
    with unscoped(reason="hourly sums are compared with events for every organization") as wide:
        rows = wide.rows("metering_differences", since, until, organization_id, MOST_DIFFERENCES)
    return [Difference(**row) for row in rows]


def reaggregate(*, actor: Actor, since: datetime, until: datetime, repair: bool) -> list[Difference]:
    """Compare the hours of the organization in scope with their events; with `repair`, make the hours what they say.

    `since` and `until` are cut to whole UTC hours. While it repairs, nothing is added to any hour: writes, which add
    nothing, go on.
    """
    since, until = map(hour_of, (since, until))
    organization_id = current_organization_id()
    if not repair:
        return differences(since, until, organization_id)
    repaired: list[Difference] = []
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE metering_usagehour IN SHARE ROW EXCLUSIVE MODE")
    while found := differences(since, until, organization_id):
        for one in found:
            _repair(one)
        repaired += found
    if repaired:
        record(
            action=actions.USAGE_REAGGREGATED,
            actor=actor,
            target=Target("organization", str(organization_id), ""),
            metadata={
                "since": since.isoformat(),
                "until": until.isoformat(),
                "hours": len(repaired),
                "change": sum(one.event_quantity - one.hour_quantity for one in repaired),
            },
        )
    return repaired


def _repair(one: Difference) -> None:
    of = {"project_id": one.project_id, "key_id": one.key_id, "meter": one.meter, "hour": one.hour}
    if one.event_count:
        values = {"quantity": one.event_quantity, "events": one.event_count}
        UsageHour.objects.update_or_create(
            **of, defaults=values, create_defaults=values | {"organization_id": one.organization_id}
        )
    else:
        UsageHour.objects.filter(**of).delete()
