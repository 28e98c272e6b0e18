"""Stacked bars by day, drawn on the server: plain SVG with a title, a description and a table that says the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import floor, log10

WIDTH, HEIGHT = 900, 200
_GAP = 6
_STEPS = (1, 2, 2.5, 5, 10)
GRID_LINES = 4


@dataclass(frozen=True, slots=True)
class Series:
    """One meter over the whole range; `css` gives it the same colour on every page."""

    meter: str
    label: str
    css: str
    total: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a day's stack, in units of the view box."""

    css: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Day:
    """One column: where its hover area lies, what it says, its bars and its row in the table."""

    day: date
    x: float
    width: float
    readout: str
    bars: tuple[Bar, ...]
    values: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that `web/parts/chart.html` draws."""

    days: tuple[Day, ...]
    series: tuple[Series, ...]
    ticks: tuple[str, ...]
    date_ticks: tuple[str, ...]
    total: int
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def lines(self) -> list[float]:
        """Where the horizontal lines lie, from the top."""
        return [HEIGHT * step / GRID_LINES for step in range(GRID_LINES)]

    @property
    def description(self) -> str:
        """One sentence for people who do not see the bars."""
        parts = ", ".join(f"{series.total:,} {series.label.lower()}" for series in self.series) or "nothing"
        return f"From {self.days[0].day:%d %B} to {self.days[-1].day:%d %B %Y}: {parts}."


def stacked(
    usage: Iterable[tuple[date, str, int]], *, meters: Mapping[str, str], last_day: date, days: int = 30
) -> Chart:
    """The chart of `days` days that end with `last_day`.

    `usage` are (day, meter, quantity); days outside the range are ignored. `meters` maps each meter to its label, in
    the order of stacking (and of colours); meters without usage are left out.
    """
    span = [last_day - timedelta(days=days - 1 - index) for index in range(days)]
    table: dict[tuple[date, str], int] = {}
    for day, meter, quantity in usage:
        if span[0] <= day <= last_day:
            table[day, meter] = table.get((day, meter), 0) + quantity
    series = tuple(
        Series(meter, label, f"meter-{number}", total)
        for number, (meter, label) in enumerate(meters.items(), start=1)
        if (total := sum(table.get((day, meter), 0) for day in span))
    )
    top = nice_ceiling(max(sum(table.get((day, one.meter), 0) for one in series) for day in span))
    columns = tuple(_column(day, index, days, series, table, top) for index, day in enumerate(span))
    ticks = tuple(short_number(top * (GRID_LINES - step) / GRID_LINES) for step in range(GRID_LINES + 1))
    date_ticks = tuple(f"{span[round((days - 1) * part / 4)]:%d %b}" for part in range(5))
    return Chart(columns, series, ticks, date_ticks, sum(one.total for one in series))


def _column(
    day: date, index: int, days: int, series: tuple[Series, ...], table: Mapping[tuple[date, str], int], top: float
) -> Day:
    slot = WIDTH / days
    values = tuple(table.get((day, one.meter), 0) for one in series)
    bars, floor_y = [], float(HEIGHT)
    for one, value in zip(series, values, strict=True):
        if not value:
            continue
        height = value / top * HEIGHT
        floor_y -= height
        bars.append(
            Bar(one.css, round(index * slot + _GAP / 2, 2), round(floor_y, 2), round(slot - _GAP, 2), round(height, 2))
        )
    said = ", ".join(f"{value:,} {one.label.lower()}" for one, value in zip(series, values, strict=True) if value)
    readout = f"{day:%a %d %b}: {said or 'no calls'}"
    return Day(day, round(index * slot, 2), round(slot, 2), readout, tuple(bars), values, sum(values))


def nice_ceiling(highest: float) -> float:
    """A round number at or above `highest` that four grid lines divide well (4 for nothing at all)."""
    if highest <= GRID_LINES:
        return GRID_LINES
    magnitude = 10.0 ** floor(log10(highest / GRID_LINES))
    return next(step * magnitude * GRID_LINES for step in _STEPS if step * magnitude * GRID_LINES >= highest)


def short_number(value: float) -> str:
    """A number for an axis: 950, 1.5k, 12k, 3M."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return f"{value:g}"
