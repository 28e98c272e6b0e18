"""An organization's billing periods: one sequence without gap or overlap, whatever was bought, moved and ended when.

No database and no clock: who knows where the last period ended and what was agreed since knows every later one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from billing.money import month_after

Agreed = TypeVar("Agreed")
Period = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Stretch(Generic[Agreed]):
    """The time under one agreement, from `starts_at` to `ends_at` (exclusive; None: nobody has ended it).

    One of its periods begins at `anchor` and ends at `until`; months before and after are counted from these two. With
    no `until` every month is counted from the anchor, so that 31 January leads to 28 February and to 31 March.
    """

    agreed: Agreed
    starts_at: datetime
    ends_at: datetime | None
    anchor: datetime
    until: datetime | None = None


def month_of(moment: datetime) -> Period:
    """The calendar month in UTC that a moment is in: what is counted in where nothing is agreed."""
    start = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, month_after(start, 1)


def in_order(stretches: Iterable[Stretch[Agreed]]) -> list[Stretch[Agreed]]:
    """The stretches by their start, each cut where one before it ends; what is not left over is left out.

    Clocks differ, and the simulator's is ahead: a purchase may seem to begin before the agreement before it has ended.
    """
    result: list[Stretch[Agreed]] = []
    for one in sorted(map(_in_utc, stretches), key=lambda stretch: stretch.starts_at):
        before = result[-1] if result else None
        if before is not None and before.ends_at is None:
            before = result[-1] = replace(before, ends_at=max(before.starts_at, one.starts_at))
        start = max(one.starts_at, before.ends_at) if before and before.ends_at else one.starts_at
        if one.ends_at is None or start < one.ends_at:
            result.append(replace(one, starts_at=start))
    return [one for one in result if one.ends_at is None or one.starts_at < one.ends_at]


def _in_utc(stretch: Stretch[Agreed]) -> Stretch[Agreed]:
    """UTC knows no summer time: in it, moments compare as they follow each other."""
    return Stretch(
        stretch.agreed,
        stretch.starts_at.astimezone(UTC),
        stretch.ends_at and stretch.ends_at.astimezone(UTC),
        stretch.anchor.astimezone(UTC),
        stretch.until and stretch.until.astimezone(UTC),
    )


def periods_after(
    since: datetime, stretches: Iterable[Stretch[Agreed]]
) -> Iterator[tuple[Period, Stretch[Agreed] | None]]:
    """The periods from `since` on, for ever, each with what it was used under: None is the free plan.

    Each begins where the one before ends. A period ends with its month, and where an agreement begins or ends.
    """
    known = in_order(stretches)
    start = since.astimezone(UTC)
    while True:
        stretch, end = _running(start, known)
        yield (start, end), stretch
        start = end


def _running(moment: datetime, known: list[Stretch[Agreed]]) -> tuple[Stretch[Agreed] | None, datetime]:
    """What holds at a moment, and where the period ends that it is in."""
    for stretch in known:
        if moment < stretch.starts_at:
            return None, min(month_of(moment)[1], stretch.starts_at)
        if stretch.ends_at is None:
            return stretch, _boundary(stretch, moment)
        if moment < stretch.ends_at:
            return stretch, min(_boundary(stretch, moment), stretch.ends_at)
    return None, month_of(moment)[1]


def _boundary(stretch: Stretch[Agreed], moment: datetime) -> datetime:
    if stretch.until is None or moment < stretch.anchor:
        return _first_after(stretch.anchor, moment)
    return stretch.until if moment < stretch.until else _first_after(stretch.until, moment)


def _first_after(anchor: datetime, moment: datetime) -> datetime:
    """The first of the anchor's months, before it or after, that begins after the moment."""
    months = (moment.year - anchor.year) * 12 + moment.month - anchor.month
    return next(found for n in (months, months + 1) if (found := month_after(anchor, n)) > moment)
