"""Prices a period in parts: what was agreed changed in it, or it is no whole month. By terms alone, as pricing.

A fixed price is shared by time, a part's share of its month; so however a month is cut, its parts are the month to the
cent. What a plan includes is shared by time among the parts of the period, and what was used is priced by the plan in
force in its hour. Levels (stored bytes, end users) are not shared: they are charged for as long as they held.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby

from billing.invoicing.pricing import Charge, Kind
from billing.invoicing.terms import Part, Terms
from billing.metering.meters import GAUGES
from billing.money import prorate, round_line, times
from billing.plans import ALLOWANCE_METERS, ALLOWANCE_NAMES, Allowance

Span = tuple[datetime, datetime]
Used = Mapping[Span, Mapping[Allowance, int]]  # what was used in each of `spans`


def spans(terms: Terms) -> list[Span]:
    """The times whose use is to be known."""
    return list(dict.fromkeys((part.start, part.end) for part in [*_usage_parts(terms), *_seat_parts(terms)]))


def charges(terms: Terms, used: Used, period_start: datetime) -> list[Charge]:
    """The lines of a period in parts, before any commit: the plan, the seats, and each allowance that was used."""
    return [
        *_plan_lines(terms, period_start),
        *_seat_lines(terms, used, period_start),
        *(line for part in _usage_parts(terms) for line in _usage_lines(terms, part, used, period_start)),
    ]


def adjustments(terms: Terms, *, billed: Used, used: Used, period_start: datetime) -> Iterator[Charge]:
    """What came late for a period in parts, each part by what held in it."""
    before = {(line.allowance, line.span): line for line in charges(terms, billed, period_start)}
    for line in charges(terms, used, period_start):
        was = before.get((line.allowance, line.span))
        known = was.how.get("used", 0) if was else 0
        if line.how.get("used", 0) != known:
            yield replace(
                line,
                kind=Kind.ADJUSTMENT,
                description=f"{line.description}, {known:,} billed before",
                quantity=line.quantity - (was.quantity if was else 0),
                before=Decimal(0),
                how=line.how | {"billed": known},
            )


def _plan_lines(terms: Terms, period_start: datetime) -> Iterator[Charge]:
    for part in _merged(terms.parts, lambda part: (part.plan_key, part.plan_version, part.fee, part.month)):
        if part.fee:
            name = f"{part.plan_key.title()} plan"
            yield _share(part, Kind.PLAN, name, 1, Decimal(part.fee), period_start)


def _seat_parts(terms: Terms) -> list[Part]:
    return _merged(terms.parts, lambda part: (part.seats, part.allowances.get(Allowance.SEATS), part.month))


def _seat_lines(terms: Terms, used: Used, period_start: datetime) -> Iterator[Charge]:
    for part in _seat_parts(terms):
        included = part.allowances.get(Allowance.SEATS)
        count = max(part.seats, used.get((part.start, part.end), {}).get(Allowance.SEATS, 0))
        if included is not None and count:
            units = max(0, count - included.quantity) if included.overage is not None else 0
            name = f"Seats: {count:,} used, {included.quantity:,} included"
            line = _share(part, Kind.SEATS, name, units, included.overage or Decimal(0), period_start)
            yield replace(
                line, allowance=Allowance.SEATS, how=line.how | {"used": count, "included": included.quantity}
            )


def _share(part: Part, kind: Kind, name: str, quantity: int, price: Decimal, period_start: datetime) -> Charge:
    """A line for a part of a month: rounded so that the lines of a month, however it is cut, are the month's price."""
    start, end = part.month
    until = {moment: _prorated(price, moment - start, end - start) for moment in (part.start, part.end)}
    return Charge(
        kind=kind,
        description=f"{name}, {_named(part)}" if (part.start, part.end) != part.month else name,
        quantity=quantity,
        unit_price=until[part.end] - until[part.start],
        period_start=period_start,
        how={"part": [part.start.isoformat(), part.end.isoformat()], "month": [start.isoformat(), end.isoformat()]},
        before=times(until[part.start], quantity),
        span=(part.start, part.end),
    )


def _prorated(price: Decimal, share: timedelta, whole: timedelta) -> Decimal:
    """Rates may have parts of a minor unit; `prorate` takes whole ones."""
    if price == price.to_integral_value():
        return prorate(int(price), share, whole)
    return round(price * (share // timedelta(microseconds=1)) / (whole // timedelta(microseconds=1)), 12)


def _usage_parts(terms: Terms) -> list[Part]:
    """The parts by what use is priced by: one, where the fixed price or the seats alone have changed."""

    def priced_by(part: Part) -> object:
        metered = {one: of for one, of in part.allowances.items() if one is not Allowance.SEATS}
        return part.plan_key, part.plan_version, metered

    return _merged(terms.parts, priced_by)


def _usage_lines(terms: Terms, part: Part, used: Used, period_start: datetime) -> Iterator[Charge]:
    start, end = terms.parts[0].start, terms.parts[-1].end
    known = used.get((part.start, part.end), {})
    for one in [one for one in Allowance if one in known and one in part.allowances and one is not Allowance.SEATS]:
        included, count = part.allowances[one], known[one]
        whole = included.quantity
        if ALLOWANCE_METERS[one] <= GAUGES:
            units = _part_of(max(0, count - whole), part, start, end)
        else:
            whole = _part_of(whole, part, start, end)
            units = max(0, count - whole)
        is_all = (part.start, part.end) == (start, end)
        yield Charge(
            kind=Kind.USAGE,
            description=f"{ALLOWANCE_NAMES[one]}: {count:,} used, {whole:,} included"
            + ("" if is_all else f", {_named(part)}"),
            quantity=units if included.overage is not None else 0,
            unit_price=included.overage or Decimal(0),
            period_start=period_start,
            how={"used": count, "included": whole, "part": [part.start.isoformat(), part.end.isoformat()]},
            allowance=one,
            span=(part.start, part.end),
        )


def _part_of(quantity: int, part: Part, start: datetime, end: datetime) -> int:
    """A part's whole units of what the time from `start` to `end` has; those of all parts add up to it."""
    until, since = (round_line(prorate(quantity, moment - start, end - start))[0] for moment in (part.end, part.start))
    return until - since


def _merged(parts: Sequence[Part], by: Callable[[Part], object]) -> list[Part]:
    """Neighbours that are alike as one."""
    found = [list(group) for _, group in groupby(parts, key=by)]
    return [replace(group[0], end=group[-1].end) for group in found]


def _named(part: Part) -> str:
    return f"{part.start:%-d %b %H:%M} to {part.end:%-d %b %H:%M}"
