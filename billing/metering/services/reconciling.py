"""Compares, every night, what was counted in three places: events, hours, closed periods."""

import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from billing.metering.hours import hour_of
from billing.metering.services.periods import recounted
from billing.metering.services.sums import Difference, differences
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Target, record
from tenancy.scope import scope, unscoped

LOOKED_BACK = timedelta(days=3)
log = logging.getLogger("metering")


@dataclass(frozen=True, slots=True)
class Findings:
    """Hours that are not what their events say, and periods that are not what they were closed with: none, or alarm."""

    hours: list[Difference]
    periods: list[UUID]


def reconcile(*, now: datetime | None = None) -> Findings:
    """Compare the hours and the newly closed periods of the last days with their events, for every organization.

    A finding is an error in the log, and an event in its organization's trail. `reaggregate` repairs hours.
    """
    now = hour_of(now or timezone.now()) + timedelta(hours=1)
    hours = differences(now - LOOKED_BACK, now)
    by_organization: defaultdict[UUID, list[Difference]] = defaultdict(list)
    for one in hours:
        by_organization[one.organization_id].append(one)
    for organization_id, found in by_organization.items():
        events, summed = sum(one.event_quantity for one in found), sum(one.hour_quantity for one in found)
        log.error(
            "metering.difference organization=%s hours=%d events=%d summed=%d",
            organization_id,
            len(found),
            events,
            summed,
        )
        _tell(organization_id, {"hours": len(found), "events": events, "summed": summed})
    periods = []
    with unscoped(reason="find the periods that were closed since the last nights") as wide:
        closed = wide.rows("metering_periods_closed_since", now - LOOKED_BACK)
    for one in recounted([row["period_id"] for row in closed]):
        if not one.is_right:
            log.error("metering.period_differs organization=%s period=%s", one.organization_id, one.period_id)
            _tell(one.organization_id, {"period": str(one.period_id)})
            periods.append(one.period_id)
    return Findings(hours, periods)


def _tell(organization_id: UUID, metadata: dict[str, int | str]) -> None:
    with scope(organization_id):
        target = Target("organization", str(organization_id), "")
        record(action=actions.USAGE_DIFFERENCE_FOUND, actor=SYSTEM, target=target, metadata=metadata)
