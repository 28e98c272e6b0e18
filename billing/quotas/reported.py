"""Draws the counters down by what data planes elsewhere report: it has happened, so it counts at a cap too."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from billing.metering.hours import hour_of
from billing.metering.models import ReportedEvent
from billing.metering.services import reports as metering
from billing.metering.services.reports import Report, Taken
from billing.models import EntitlementOverride, Subscription
from billing.plans import Allowance, Feature, plan
from billing.quotas import selectors
from billing.quotas.leases import MissingCounter, Subject
from billing.quotas.services import COUNTED, DEFAULT_PERCENTS, ask_anew, begin
from capsule_cloud.lib.jobs import enqueue
from tenancy.scope import current_organization_id

CHECKED = (*sorted(selectors.FLOWS), Allowance.END_USERS)  # the order in which everybody locks


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of each report, and what remains of each allowance for everybody; None: nothing limits it."""

    taken: list[Taken]
    remaining: Mapping[Allowance, int | None]


@dataclass(frozen=True, slots=True)
class _Limit:
    """A limit after a draw on it."""

    amount: int
    used: int
    drawn: int

    def crosses(self, percents: Iterable[int]) -> bool:
        """Whether the draw has crossed one of the percentages."""
        before = (self.used - self.drawn) * 100
        return any(before < self.amount * percent <= self.used * 100 for percent in percents)


def is_known() -> bool:
    """Whether the organization in scope has or had data planes of its own: they have reported, or were bought.

    What they hold has happened, and counts whatever plan has ended since.
    """
    bought = Subscription.objects.values_list("plan_key", "plan_version").distinct()
    granted = EntitlementOverride.objects.filter(key=f"feature:{Feature.DATA_PLANES}", value=True)
    return (
        ReportedEvent.objects.exists()
        or any(Feature.DATA_PLANES in plan(key, version).features for key, version in bought)
        or granted.exclude(holds_from=None).exists()
    )


def take(*, project_id: UUID, key_id: UUID, reports: Sequence[Report]) -> Reported:
    """Count reports of the organization in scope, as `metering.services.reports.take` does, and draw what is new.

    Use of an earlier billing period draws nothing. A crossed percentage is said at once, and whoever holds a lease asks
    anew where a limit is reached. Raises what that function does.
    """
    organization_id = current_organization_id()
    subjects = [Subject(organization_id, project_id, key_id, one) for one in CHECKED[:-1]]
    for subject in subjects:  # before the events are there: a counter begins with their sum
        _make_counters(subject)
    taken = metering.take(project_id=project_id, key_id=key_id, reports=reports)
    new = [report for report, one in zip(reports, taken, strict=True) if one.is_new]
    limits = {subject.allowance: _draw(subject, new) for subject in subjects}
    limits[Allowance.END_USERS] = _count_users(organization_id, project_id, new)
    _tell(limits)
    rests = {one: min((limit.amount - limit.used for limit in limits[one]), default=None) for one in CHECKED}
    return Reported(taken, {one: None if rest is None else max(0, rest) for one, rest in rests.items()})


def _make_counters(subject: Subject) -> None:
    for row in _rows(subject, 0, 0):
        is_missing, level, subject_id, span, starts_at, *_ = row
        if is_missing:
            begin(subject, MissingCounter(level, subject_id, span, starts_at))


def _draw(subject: Subject, new: Sequence[Report]) -> list[_Limit]:
    mine = [report for report in new if COUNTED.get(report.meter) == subject.allowance]
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    period = hour_of(selectors.billing_period().starts_at)  # as counters sum: whole hours
    units, of_day = (sum(one.quantity for one in mine if one.occurred_at >= since) for since in (period, today))
    return [_Limit(*row[5:]) for row in _rows(subject, units, of_day)]


def _rows(subject: Subject, units: int, of_day: int) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM quotas_draw(%s, %s, %s, %s, %s, %s)",
            [subject.organization_id, subject.project_id, subject.key_id, subject.allowance.value, units, of_day],
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def _count_users(organization_id: UUID, project_id: UUID, new: Sequence[Report]) -> list[_Limit]:
    since = selectors.billing_period().starts_at
    names = sorted({one.end_user for one in new if one.end_user and one.occurred_at >= since})
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM quotas_count_users(%s, %s, %s::text[])", [organization_id, project_id, names])
        return [_Limit(*row) for row in cursor.fetchall()]


def _tell(limits: Mapping[Allowance, Sequence[_Limit]]) -> None:
    watches = selectors.watches()
    if any(limit.crosses(watches.get(one, DEFAULT_PERCENTS)) for one, some in limits.items() for limit in some):
        enqueue("quotas.say_crossed")
    if any(limit.crosses((100,)) for some in limits.values() for limit in some):
        ask_anew()
