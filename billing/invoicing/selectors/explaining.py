"""Explains a line: from what it costs to the hours that it counts, and from an hour to its raw events."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from billing.invoicing.models import InvoiceLine
from billing.invoicing.usage import HourSum, Period, RawEvent, Sight, events, hours, summed
from billing.metering.meters import GAUGES
from billing.plans import ALLOWANCE_METERS, Allowance
from tenancy.errors import Invalid

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a line came about: `how` as it was computed, and the hours whose events it counts.

    The hours of a usage line come to `measured`, which is `how["measured"]`. Those of an adjustment are what was
    stored late: they come to what was measured then less what was before. A plan, commit, true-up or credit has none.
    """

    line: InvoiceLine
    how: Mapping[str, Any]
    hours: list[HourSum]
    measured: int


def explain(line: InvoiceLine) -> Explanation:
    """The line in hours, made anew from the raw events that it counted."""
    if not line.allowance:
        return Explanation(line, line.how, [], 0)
    found = hours(_period(line), _sight(line), _meters(line))
    come_to = summed("", [(one.meter, one.hour, one.quantity) for one in found]).allowances
    return Explanation(line, line.how, found, come_to.get(Allowance(line.allowance), 0))


def events_of(
    line: InvoiceLine, *, hour: datetime | None = None, after: UUID | None = None, limit: int = 100
) -> list[RawEvent]:
    """A page of the events that a line counts, of one of its hours or all; `after` is the last of the page before.

    Raises Invalid for an hour that the line does not have.
    """
    if not line.allowance:
        return []
    period = _period(line)
    if hour is not None:
        if not period[0] <= hour < period[1]:
            raise Invalid("hour", "The line counts no such hour.")
        period = (hour, hour + HOUR)
    return events(period, _sight(line), _meters(line), after=after, limit=limit)


def _period(line: InvoiceLine) -> Period:
    since, until = line.how["hours"]
    return datetime.fromisoformat(since), datetime.fromisoformat(until)


def _meters(line: InvoiceLine) -> list[str]:
    return [meter.value for meter in ALLOWANCE_METERS[Allowance(line.allowance)]]


def _sight(line: InvoiceLine) -> Sight:
    """A late sample changes an average or a maximum of all samples: they are shown together."""
    is_gauge = ALLOWANCE_METERS[Allowance(line.allowance)] <= GAUGES
    return Sight(line.how["watermark"], "" if is_gauge else line.how.get("after", ""))
