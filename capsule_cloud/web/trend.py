"""The line of what a period has used, day by day, with where it leads and the cap: SVG drawn on the server."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate

from billing.quotas.forecasts import Forecast
from capsule_cloud.web.chart import GRID_LINES, HEIGHT, WIDTH, nice_ceiling, short_number

FAR = 4  # times the rest: a cap further up would flatten the line


@dataclass(frozen=True, slots=True)
class Day:
    """A day that has passed or runs: where its hover area lies, what it says, and its row in the table."""

    name: str
    x: float
    width: float
    readout: str
    quantity: int
    total: int  # of the period, this day included


@dataclass(frozen=True, slots=True)
class Trend:
    """Everything that `web/parts/trend.html` draws; paths are in units of the view box."""

    area: str
    line: str
    forecast: str  # "" where the period is over
    band: str
    cap_y: float | None
    ticks: tuple[str, ...]
    time_ticks: tuple[str, ...]
    description: str
    days: tuple[Day, ...]
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def lines(self) -> list[float]:
        """Where the horizontal lines lie, from the top."""
        return [HEIGHT * step / GRID_LINES for step in range(GRID_LINES)]


def trend(*, daily: Sequence[int], first: date, days: int, foretold: Forecast) -> Trend:
    """The running sum of `daily`, from the period's first day until today, in a period of `days` days.

    The cap (`foretold.limit`) is drawn where it is not far above everything.
    """
    sums = [0, *accumulate(daily)]
    cap, highest = foretold.limit, max(*sums, foretold.high)
    is_near = cap is not None and cap <= FAR * max(highest, 1)
    top = nice_ceiling(max(highest, cap if is_near and cap is not None else 0))

    def point(day: int, value: float) -> str:
        return f"{_x(day, days):.2f} {HEIGHT - value / top * HEIGHT:.2f}"

    line = "M" + " L".join(point(day, value) for day, value in enumerate(sums))
    today, now = len(sums) - 1, sums[-1]
    marks = sorted({round((days - 1) * part / 4) for part in range(5)})
    said = f"From {first:%d %B} to {first + timedelta(days=max(0, today - 1)):%d %B %Y}: {now:,} used. At this pace "
    said += f"{foretold.expected:,} by the end of the period, probably from {foretold.low:,} to {foretold.high:,}."
    if cap is not None:
        said += f" {cap:,} are included."
    is_open = today < days
    return Trend(
        area=f"{line} L{_x(today, days):.2f} {HEIGHT} L0 {HEIGHT} Z",
        line=line,
        forecast=f"M{point(today, now)} L{point(days, foretold.expected)}" if is_open else "",
        band=f"M{point(today, now)} L{point(days, foretold.high)} L{point(days, foretold.low)} Z" if is_open else "",
        cap_y=HEIGHT - cap / top * HEIGHT if is_near and cap is not None else None,
        ticks=tuple(short_number(top * (GRID_LINES - step) / GRID_LINES) for step in range(GRID_LINES + 1)),
        time_ticks=tuple(f"{first + timedelta(days=mark):%d %b}" for mark in marks),
        description=said,
        days=tuple(_day(first, number, days, daily[number], sums[number + 1]) for number in range(today)),
    )


def _day(first: date, number: int, days: int, quantity: int, total: int) -> Day:
    name = f"{first + timedelta(days=number):%a %d %b}"
    readout = f"{name}: {quantity:,} operations, {total:,} since the period began"
    x = _x(number, days)
    return Day(name, round(x, 2), round(_x(number + 1, days) - x, 2), readout, quantity, total)


def _x(day: int, days: int) -> float:
    return min(day, days) / days * WIDTH
