"""Stacked bars over time, drawn on the server: plain SVG with a title, a description and a table that says the same."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import floor, log10

WIDTH, HEIGHT = 900, 200
GRID_LINES = 4
COLOURS = 9  # tokens.css has as many; one series more would repeat the first
_GAP, _GAP_SHARE = 6, 0.3  # between two columns, and of a narrow column's place at most
_STEPS = (1, 2, 2.5, 5, 10)
# How a moment reads: in the table, below the axis, in a sentence
_FORMATS = {
    "hour": ("%a %d %b, %H:00", "%d %b %H:00", "%d %B %Y, %H:00"),
    "day": ("%a %d %b", "%d %b", "%d %B %Y"),
    "month": ("%B %Y", "%b %Y", "%B %Y"),
}


def short_number(value: float) -> str:
    """A number for an axis: 950, 1.5k, 12k, 3M, 2.5G."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return f"{value:g}"


def byte_size(value: float) -> str:
    """So many bytes as people read them: 950 B, 12.3 MB, 4.1 GB; a kB are 1,000."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (1_000, "kB")):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:g} B"


@dataclass(frozen=True, slots=True)
class Unit:
    """What the numbers of a chart are, how one reads in a sentence, and how at the axis."""

    name: str
    say: Callable[[int], str]
    tick: Callable[[float], str]


CALLS = Unit("Calls", "{:,}".format, short_number)
BYTES = Unit("Bytes", byte_size, byte_size)


@dataclass(frozen=True, slots=True)
class Series:
    """One colour over the whole range; `css` gives a meter the same one on every page.

    `total` is the sum over the range; of samples, which have none, the average of the columns that have any.
    """

    key: str
    label: str
    css: str
    total: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a column's stack, in units of the view box."""

    css: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """One hour, day or month: where its hover area lies, what it says, its bars and its row in the table."""

    name: str
    x: float
    width: float
    readout: str
    bars: tuple[Bar, ...]
    values: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that `web/parts/chart.html` draws."""

    columns: tuple[Column, ...]
    series: tuple[Series, ...]
    ticks: tuple[str, ...]
    time_ticks: tuple[str, ...]
    total: int
    span: str  # "From … to …"
    grain: str
    unit: Unit
    is_sampled: bool  # not counted: columns do not add up to anything
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def title(self) -> str:
        """What the columns are."""
        return f"{self.unit.name} by {self.grain}"

    @property
    def lines(self) -> list[float]:
        """Where the horizontal lines lie, from the top."""
        return [HEIGHT * step / GRID_LINES for step in range(GRID_LINES)]

    @property
    def description(self) -> str:
        """One sentence for people who do not see the bars."""
        say = self.unit.say
        parts = ", ".join(f"{say(series.total)} {series.label.lower()}" for series in self.series) or "nothing"
        return f"{self.span}{', on average' if self.is_sampled else ''}: {parts}."


def last_days(
    usage: Iterable[tuple[date, str, int]], *, meters: Mapping[str, str], last_day: date, days: int = 30
) -> Chart:
    """The chart of `days` days that end with `last_day`, by meter."""
    return stacked(usage, names=meters, moments=[last_day - timedelta(days=days - 1 - n) for n in range(days)])


def stacked(
    usage: Iterable[tuple[date, str, int]],
    *,
    names: Mapping[str, str],
    moments: Sequence[date | datetime],
    grain: str = "day",
    unit: Unit = CALLS,
    is_sampled: bool = False,
) -> Chart:
    """The chart with a column for each of `moments`, which are all hours, days or months as `grain` says.

    `usage` are (moment, key, quantity); other moments are ignored. `names` maps each key to its label, in the order of
    stacking (and of colours); what has no usage is left out. `is_sampled` where the quantities say what there was at
    some moment: they are then averaged over the range, not summed.
    """
    table: dict[tuple[date, str], int] = {}
    known = set(moments)
    for moment, key, quantity in usage:
        if moment in known:
            table[moment, key] = table.get((moment, key), 0) + quantity
    parts = len({moment for moment, _ in table}) or 1 if is_sampled else 1
    series = tuple(
        Series(key, label, f"meter-{number % COLOURS + 1}", round(total / parts))
        for number, (key, label) in enumerate(names.items())
        if (total := sum(table.get((moment, key), 0) for moment in moments))
    )
    # a correction can make a sum negative: it has no bar, but its number
    highest = max(sum(max(0, table.get((moment, one.key), 0)) for one in series) for moment in moments)
    top = nice_ceiling(highest)
    said, short, long = _FORMATS[grain]
    columns = tuple(
        _column(
            f"{moment:{said}}",
            (index, len(moments)),
            series,
            [table.get((moment, one.key), 0) for one in series],
            top,
            unit,
        )
        for index, moment in enumerate(moments)
    )
    ticks = tuple(unit.tick(top * (GRID_LINES - step) / GRID_LINES) for step in range(GRID_LINES + 1))
    marks = sorted({round((len(moments) - 1) * part / 4) for part in range(5)})
    span = f"From {moments[0]:{long}} to {moments[-1]:{long}}"
    if grain == "day" and moments[0].year == moments[-1].year:
        span = f"From {moments[0]:%d %B} to {moments[-1]:%d %B %Y}"
    time_ticks = tuple(f"{moments[mark]:{short}}" for mark in marks)
    total = sum(one.total for one in series)
    return Chart(columns, series, ticks, time_ticks, total, span, grain, unit, is_sampled)


def _column(
    name: str, place: tuple[int, int], series: tuple[Series, ...], values: Sequence[int], top: float, unit: Unit
) -> Column:
    index, count = place
    slot = WIDTH / count
    gap = min(_GAP, slot * _GAP_SHARE)
    bars, floor_y = [], float(HEIGHT)
    for one, value in zip(series, values, strict=True):
        if value <= 0:
            continue
        height = value / top * HEIGHT
        floor_y -= height
        x, width = round(index * slot + gap / 2, 2), round(slot - gap, 2)
        bars.append(Bar(one.css, x, round(floor_y, 2), width, round(height, 2)))
    said = ", ".join(
        f"{unit.say(value)} {one.label.lower()}" for one, value in zip(series, values, strict=True) if value
    )
    readout = f"{name}: {said or 'nothing'}"
    return Column(name, round(index * slot, 2), round(slot, 2), readout, tuple(bars), tuple(values), sum(values))


def nice_ceiling(highest: float) -> float:
    """A round number at or above `highest` that four grid lines divide well (4 for nothing at all)."""
    if highest <= GRID_LINES:
        return GRID_LINES
    magnitude = 10.0 ** floor(log10(highest / GRID_LINES))
    return next(step * magnitude * GRID_LINES for step in _STEPS if step * magnitude * GRID_LINES >= highest)
