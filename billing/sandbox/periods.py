"""Counts billing periods from their anchor: the 31st becomes the 28th and the 31st again, in UTC."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta

DAY = 86_400


def period_end(anchor: int, interval: str, count: int, number: int) -> int:
    """The moment `number` periods after the anchor, in Unix seconds."""
    if interval in {"day", "week"}:
        return anchor + number * count * DAY * (7 if interval == "week" else 1)
    return months_after(anchor, number * count * (12 if interval == "year" else 1))


def next_end(anchor: int, interval: str, count: int, after: int) -> int:
    """The first end of a period later than `after`; the anchor itself is one."""
    number = (after - anchor) // (DAY * count * {"day": 1, "week": 7, "month": 31, "year": 366}[interval])
    while period_end(anchor, interval, count, number) <= after:
        number += 1
    return period_end(anchor, interval, count, number)


def start_before(anchor: int, interval: str, count: int, end: int) -> int:
    """The start of the whole period that ends at `end`, which is an end of the anchor's periods."""
    number = 0
    while period_end(anchor, interval, count, number) < end:
        number += 1
    while period_end(anchor, interval, count, number) > end:
        number -= 1
    return period_end(anchor, interval, count, number - 1)


def months_after(moment: int, months: int) -> int:
    """The same day and time months later, or the month's last day where it has no such day."""
    start = datetime.fromtimestamp(moment, UTC)
    years, month = divmod(start.month - 1 + months, 12)
    year, month = start.year + years, month + 1
    day = min(start.day, monthrange(year, month)[1])
    return int(start.replace(year=year, month=month, day=day).timestamp())


def days_after(moment: int, days: int) -> int:
    """The moment whole days later."""
    return int((datetime.fromtimestamp(moment, UTC) + timedelta(days=days)).timestamp())
