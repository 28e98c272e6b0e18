"""Tables of figures: on the terminal, and between their marks in docs/performance.md."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench import machine
from tests.bench.load import Window

DOCUMENT = machine.ROOT / "docs" / "performance.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. `is_met` is None where nothing was promised."""

    what: str
    ours: str
    theirs: str
    ratio: str
    target: str = ""
    is_met: bool | None = None


def table(columns: tuple[str, str], rows: Sequence[Row]) -> str:
    """A Markdown table; `columns` name what was measured and what it is compared to."""
    head = ["what", *columns, "ratio", "target", "met"]
    body = [
        [row.what, row.ours, row.theirs, row.ratio, row.target, {True: "yes", False: "**no**", None: ""}[row.is_met]]
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]
    lines = [_line(head, widths), _line(["-" * width for width in widths], widths)]
    return "\n".join([*lines, *(_line(line, widths) for line in body)])


def speed(window: Window) -> str:
    """Rate, latencies and CPU of a window, for a cell."""
    return (
        f"{window.rate:,.{0 if window.rate >= 20 else 2}f}/s, p50 {_time(window.p50)}, p99 {_time(window.p99)}, "
        f"CPU {_time(window.cpu / 1000)}"
    )


def compare(what: str, ours: Window, theirs: Window, times: float, target: float | None = None) -> Row:
    """A row of two speeds; `times` is how many times theirs ours is."""
    promise = "" if target is None else f"≥ {target:g} x"
    return Row(what, speed(ours), speed(theirs), ratio(times), promise, None if target is None else times >= target)


def ratio(times: float) -> str:
    """A ratio with as many digits as it deserves."""
    return f"{times:.{0 if times >= 20 else 2}f} x"


def others(*groups: Sequence[Window]) -> str:
    """A sentence on how much of the machine others used during the windows."""
    shares = [window.others for group in groups for window in group]
    return f"Others used {sum(shares) / len(shares):.0%} of the machine meanwhile (at most {max(shares):.0%})."


def write(name: str, text: str, command: str) -> None:
    """Replace the part of docs/performance.md between the marks of `name`; the file must have them."""
    document = DOCUMENT.read_text()
    pattern = re.compile(rf"(<!-- bench:{name} -->\n).*?(<!-- /bench:{name} -->)", re.DOTALL)
    if not pattern.search(document):
        raise LookupError(f"{DOCUMENT} has no marks <!-- bench:{name} --> … <!-- /bench:{name} -->: add them.")
    block = f"{text}\n\n<sub>{machine.stamp(command)}. {machine.describe()}.</sub>\n"
    DOCUMENT.write_text(pattern.sub(lambda found: found[1] + block + found[2], document))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _time(milliseconds: float) -> str:
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.2f} s"
    return f"{milliseconds:.{0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2}f} ms"
