"""A usage statement: what a period used, hour by hour, each with a hash of its events; checked without a database.

Whoever has the statement and the exported events computes everything again: hashes and their chain, sums, lines.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.invoicing import pricing
from billing.invoicing.terms import from_json
from billing.invoicing.usage import RawEvent, summed
from billing.metering.hours import hour_of
from billing.plans import ALLOWANCE_METERS, Allowance

FORMAT = "capsule-usage-statement/1"
FIELDS = frozenset({"id", "project", "key", "meter", "quantity", "end_user", "at"})
MOST_SAID = 100  # differences; the rest is counted


class Unreadable(Exception):
    """The file is no usage statement. A retry does not help."""


def canonical(value: Any) -> bytes:
    """Keys sorted, no blanks, UTF-8: RFC 8785, as there are no fractions."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def signed_bytes(statement: Mapping[str, Any]) -> bytes:
    """What is signed; the format's name keeps it from passing for something else that was."""
    return FORMAT.encode() + b"\n" + canonical(statement)


def event_line(event: RawEvent) -> bytes:
    """A raw event as it is exported, one a line, and as its hour's hash counts it."""
    return canonical(
        {
            "id": str(event.id),
            "project": str(event.project_id),
            "key": str(event.key_id) if event.key_id else None,
            "meter": event.meter,
            "quantity": event.quantity,
            "end_user": event.end_user,
            "at": event.occurred_at.astimezone(UTC).isoformat(),
        }
    )


@dataclass(slots=True)
class _Hour:
    digest: Any = field(default_factory=hashlib.sha256)
    meters: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))


class Hours:
    """Adds up events, each hour by itself; they come in the order of their ids."""

    def __init__(self) -> None:
        self._hours: defaultdict[str, _Hour] = defaultdict(_Hour)

    def add(self, line: bytes, *, at: datetime, meter: str, quantity: int) -> None:
        """Count one exported event."""
        hour = self._hours[hour_of(at).isoformat()]
        hour.digest.update(line + b"\n")
        sums = hour.meters[meter]
        sums[0] += quantity
        sums[1] += 1

    def entries(self) -> list[dict[str, Any]]:
        """The hours in order: sums and counts by meter, the hash of the events, the chain that ties them together."""
        found: list[dict[str, Any]] = []
        link = ""
        for name in sorted(self._hours):
            hour = self._hours[name]
            entry: dict[str, Any] = {
                "hour": name,
                "meters": {
                    meter: {"quantity": sums[0], "events": sums[1]} for meter, sums in sorted(hour.meters.items())
                },
                "sha256": hour.digest.hexdigest(),
            }
            link = chained(link, entry)
            found.append(entry | {"chain": link})
        return found


def chained(link: str, entry: Mapping[str, Any]) -> str:
    """The next link: a hash over the one before and an hour's entry without its own."""
    plain = {key: value for key, value in entry.items() if key != "chain"}
    return hashlib.sha256(link.encode() + b"\n" + canonical(plain)).hexdigest()


def totals(hours: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """What the hours come to, by meter, as the lines count it."""
    rows = [(meter, one["hour"], sums["quantity"]) for one in hours for meter, sums in one["meters"].items()]
    return dict(summed("", rows).meters)


def differences(statement: Mapping[str, Any], lines: Iterable[bytes]) -> list[str]:
    """Everything that the exported events and arithmetic say otherwise, in sentences; empty when all of it holds."""
    try:
        found = [*_wrong_hours(statement, lines), *_wrong_sums(statement)]
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as broken:
        raise Unreadable(f"This is no usage statement: {type(broken).__name__}: {broken}") from None
    return found if len(found) <= MOST_SAID else [*found[:MOST_SAID], f"… and {len(found) - MOST_SAID} more."]


def _wrong_hours(statement: Mapping[str, Any], lines: Iterable[bytes]) -> Iterator[str]:
    counted = Hours()
    since, until = (datetime.fromisoformat(moment) for moment in statement["period"]["hours"])
    last = ""
    for number, line in enumerate(lines, start=1):
        event = _event(line)
        if event is None:
            yield f"Line {number} of the events is none."
            continue
        if event["id"] <= last:
            yield f"Line {number}: event {event['id']} is there twice, or out of order."
        last = event["id"]
        at = datetime.fromisoformat(event["at"])
        if not since <= at < until:
            yield f"Line {number}: event {event['id']} is of another period."
        counted.add(canonical(event), at=at, meter=event["meter"], quantity=event["quantity"])
    said = {one["hour"]: one for one in statement["hours"]}
    real = {one["hour"]: one for one in counted.entries()}
    for hour in sorted(said | real):
        yield from _wrong_hour(hour, said.get(hour), real.get(hour))


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
        is_event = (
            event.keys() == FIELDS
            and type(event["quantity"]) is int
            and isinstance(event["meter"], str)
            and datetime.fromisoformat(event["at"]).tzinfo is not None
            and isinstance(event["id"], str)
        )
    except (ValueError, TypeError, AttributeError):
        return None
    return event if is_event else None


def _wrong_hour(hour: str, said: Mapping[str, Any] | None, real: Mapping[str, Any] | None) -> Iterator[str]:
    nothing: dict[str, Any] = {"meters": {}, "sha256": ""}
    before, now = said or nothing, real or nothing
    for meter in sorted(before["meters"] | now["meters"]):
        was, is_now = before["meters"].get(meter, {}), now["meters"].get(meter, {})
        for what in ("quantity", "events"):
            if was.get(what, 0) != is_now.get(what, 0):
                yield (
                    f"{hour} {meter}: the statement says {what} {was.get(what, 0)}, "
                    f"the events say {is_now.get(what, 0)}."
                )
    if before["sha256"] != now["sha256"]:
        yield f"{hour}: the hash of the events is another one."


def _wrong_sums(statement: Mapping[str, Any]) -> Iterator[str]:
    link = ""
    for one in statement["hours"]:
        link = chained(link, one)
        if one["chain"] != link:
            yield f"{one['hour']}: the chain is broken."
            link = one["chain"]
    if statement["chain"] != (statement["hours"][-1]["chain"] if statement["hours"] else ""):
        yield "The chain does not end where the statement says."
    real = totals(statement["hours"])
    for meter in sorted(statement["meters"] | real):
        if statement["meters"].get(meter) != real.get(meter):
            yield f"{meter}: the statement says {statement['meters'].get(meter)}, its hours say {real.get(meter)}."
    if statement["invoice"] is not None:
        yield from _wrong_lines(statement["invoice"], real)


def _wrong_lines(invoice: Mapping[str, Any], meters: Mapping[str, int]) -> Iterator[str]:
    terms = from_json(invoice["terms"])
    for line in invoice["lines"]:
        whole = line["amount"] + line["covered"]
        if Decimal(line["unit_price"]) * line["quantity"] != whole + Decimal(line["remainder"]):
            yield f"Line {line['place']}: quantity times price is not its amount."
        if line["kind"] in {"usage", "seats"}:
            allowance = Allowance(line["allowance"])
            used = sum(meters.get(meter.value, 0) for meter in ALLOWANCE_METERS[allowance])
            if allowance is Allowance.SEATS:
                used = max(used, terms.seats)
            units = pricing.billable(terms, allowance, used)
            if (line["used"], line["quantity"]) != (used, units):
                yield (
                    f"Line {line['place']}: it bills {line['quantity']} of {line['used']} used, "
                    f"the hours say {units} of {used}."
                )
    total = sum(line["amount"] for line in invoice["lines"])
    if total != invoice["total"]:
        yield f"The invoice's total is {invoice['total']}, its lines come to {total}."
