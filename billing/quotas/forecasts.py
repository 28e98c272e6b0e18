"""Foretells what a period's use comes to, with a band, and the day on which it reaches a cap."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean, pstdev
from uuid import UUID

from django.utils import timezone

from billing.metering.selectors import usage
from billing.plans import ALLOWANCE_METERS, Allowance
from billing.quotas import selectors
from billing.quotas.models import Level

DAYS = 28  # of history, whole weeks
BAND = 1.2816  # standard deviations: four of five periods end inside the band
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the billing period's use comes to at its end, as seen at `as_of`; four of five times it is in the band.

    `reaches_at` is when `limit` is reached at the usual pace, between `earliest_at` and `latest_at`; None: not in this
    period.
    """

    used: int
    expected: int
    low: int
    high: int
    limit: int | None
    reaches_at: datetime | None
    earliest_at: datetime | None
    latest_at: datetime | None
    starts_at: datetime
    ends_at: datetime
    as_of: datetime


def forecast(
    allowance: Allowance,
    *,
    level: str = Level.ORGANIZATION,
    subject_id: UUID | None = None,
    limit: int | None = None,
    now: datetime | None = None,
) -> Forecast:
    """Foretell a counted allowance of the organization in scope, or of one project or key of it.

    From the days before, of at most four weeks: the mean day, and how much days differ. With less than two whole days
    the pace of the hours so far is taken, and the band is wide.
    """
    now = now or timezone.now()
    period = selectors.billing_period()
    project_id = subject_id if level == Level.PROJECT else None
    key_id = subject_id if level == Level.KEY else None
    days = _days(allowance, now, project_id, key_id)
    since = usage(since=period.starts_at, until=now, grain="month", project_id=project_id, key_id=key_id)
    used = sum(one.quantity for one in since.points if one.group["meter"] in ALLOWANCE_METERS[allowance])
    pace = _Pace.of(days, used, (now - period.starts_at) / DAY)
    left = max(0.0, (period.ends_at - now) / DAY)

    def reached(side: int) -> datetime | None:
        return None if limit is None else _reached(pace, used, limit, now, left, side)

    return Forecast(
        used=used,
        expected=used + round(pace.mean * left),
        low=used + round(pace.after(left, -1)),
        high=used + round(pace.after(left, 1)),
        limit=limit,
        reaches_at=reached(0),
        earliest_at=reached(1),
        latest_at=reached(-1),
        starts_at=period.starts_at,
        ends_at=period.ends_at,
        as_of=now,
    )


@dataclass(frozen=True, slots=True)
class _Pace:
    """The mean use of a day, how much days differ, and of how many days that is known."""

    mean: float
    deviation: float
    days: float

    @classmethod
    def of(cls, days: list[int], used: int, passed: float) -> "_Pace":
        if len(days) >= 2:
            mean = fmean(days)
            return cls(mean, max(pstdev(days), math.sqrt(mean)), len(days))
        passed = max(passed, 1 / 24)
        return cls(used / passed, used / passed, max(1.0, passed))

    def after(self, time: float, side: int) -> float:
        """What is used in `time` days; `side` 1 and -1 are the band's edges: days differ, and the mean is a guess."""
        spread = self.deviation * math.sqrt(time + time * time / self.days)
        return max(0.0, self.mean * time + side * BAND * spread)


def _days(allowance: Allowance, now: datetime, project_id: UUID | None, key_id: UUID | None) -> list[int]:
    """What each whole day since the first use came to, at most DAYS of them."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    found = usage(since=today - DAYS * DAY, until=today, grain="day", project_id=project_id, key_id=key_id)
    by_day: dict[datetime, int] = {}
    for point in found.points:
        if point.group["meter"] in ALLOWANCE_METERS[allowance]:
            by_day[point.at] = by_day.get(point.at, 0) + point.quantity
    if not by_day:
        return []
    return [by_day.get(min(by_day) + n * DAY, 0) for n in range((today - min(by_day)) // DAY)]


def _reached(pace: _Pace, used: int, limit: int, now: datetime, left: float, side: int) -> datetime | None:
    """When the use comes to `limit`, to the hour; None when that is after the period."""
    hours = math.ceil(left * 24)
    return next(
        (
            now + timedelta(hours=hour)
            for hour in range(hours + 1)
            if used + pace.after(min(hour / 24, left), side) >= limit
        ),
        None,
    )
