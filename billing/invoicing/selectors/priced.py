"""Prices what the organization in scope used in a period, whole or in parts, and explains each line as it is made."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from billing.invoicing import pricing, prorating
from billing.invoicing.parts import Span
from billing.invoicing.pricing import Charge
from billing.invoicing.selectors.billed import used_of
from billing.invoicing.terms import Terms
from billing.invoicing.usage import Measured, Sight, hours, summed, whole_hours
from billing.plans import ALLOWANCE_METERS, Allowance


def charges(terms: Terms, seen: Measured, period: Span) -> list[Charge]:
    """The lines of a period before any commit; `seen` is what was used in it. In parts, its watermark says of what."""
    if not terms.parts or terms.is_free:
        found = pricing.charges(terms, used_of(terms, seen), period[0])
        return [_explained(line, terms, seen, period) for line in found]
    parts = _measured(terms, seen.watermark)
    return [_of_part(line, terms, parts) for line in prorating.charges(terms, _used(parts), period[0])]


def adjustments(terms: Terms, *, before: Measured, now: Measured, period: Span) -> Iterator[Charge]:
    """What came late for a period that was billed: it had come to `before`, and comes to `now`."""
    after = {"after": before.watermark}
    if terms.parts and not terms.is_free:
        was, parts = _measured(terms, before.watermark), _measured(terms, now.watermark)
        found = prorating.adjustments(terms, billed=_used(was), used=_used(parts), period_start=period[0])
        yield from (_of_part(replace(line, how=line.how | after), terms, parts) for line in found)
        return
    billed = used_of(terms, before)
    for allowance, used in used_of(terms, now).items():
        known = billed.get(allowance, 0)
        if used != known and allowance in terms.allowances:
            line = pricing.adjustment(terms, allowance, billed=known, used=used, period_start=period[0])
            yield _explained(replace(line, how=line.how | after), terms, now, period)


def _measured(terms: Terms, watermark: str) -> dict[Span, Measured]:
    """What was used in each span of terms in parts, made anew from the raw events that the watermark sees."""
    return {
        span: summed(watermark, [(one.meter, one.hour, one.quantity) for one in hours(span, Sight(watermark))])
        for span in prorating.spans(terms)
    }


def _used(parts: Mapping[Span, Measured]) -> dict[Span, Mapping[Allowance, int]]:
    return {span: one.allowances for span, one in parts.items()}


def _of_part(line: Charge, terms: Terms, parts: Mapping[Span, Measured]) -> Charge:
    assert line.span is not None  # noqa: S101  # every line of a part has its time
    start = line.span[0]
    held = next(part for part in terms.parts if part.start <= start < part.end)
    of_part = replace(terms, plan_key=held.plan_key, plan_version=held.plan_version, seats=held.seats)
    return _explained(line, of_part, parts.get(line.span), line.span)


def _explained(line: Charge, terms: Terms, seen: Measured | None, period: Span) -> Charge:
    """The line with how it was computed: plan, meters, hours and watermark."""
    how: dict[str, Any] = line.how | {"plan": f"{terms.plan_key} v{terms.plan_version}"}
    if line.allowance is not None and seen is not None:
        since, until = whole_hours(period)
        meters = {one: seen.meters[one] for one in sorted(ALLOWANCE_METERS[line.allowance]) if one in seen.meters}
        hours_counted = [since.isoformat(), until.isoformat()]
        measured_then = seen.allowances.get(line.allowance, 0)
        how |= {"meters": meters, "measured": measured_then, "hours": hours_counted, "watermark": seen.watermark}
        if line.allowance is Allowance.SEATS:
            how["bought"] = terms.seats
    return replace(line, how=how)
