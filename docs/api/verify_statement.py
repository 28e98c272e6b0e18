#!/usr/bin/env python3
"""Checks a usage statement of Capsule Memory Cloud by itself: no account, no network, none of our code.

    pip install cryptography
    python verify_statement.py statement.json events.jsonl --public-key KEY

Both files come from the page of an invoice, under "Check it yourself". Without --public-key any key is good enough that
signed the file, and is shown: note it once, from a statement that you downloaded yourself.

It computes again, from the raw events up: the hash of each hour, the chain that ties the hours together, the sums, what
each line of the invoice bills, and its total; and it checks the signature (Ed25519). It ends with 0 when all of it
holds, with 1 and a sentence for everything that does not, with 2 for files that are no statement.

Money is in minor units (cents), exact decimals until a line is rounded once, half to even.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Json = dict[str, Any]
FORMAT = "capsule-usage-statement/2"
EVENT = {"id", "project", "key", "meter", "quantity", "end_user", "at"}
# What a plan includes so much of, and the meters that count it. Samples are no counts: of stored bytes the average of a
# period's hours is billed, of the others the highest.
METERS = {
    "operations": {"ingest", "recall", "seal", "import"},
    "stored_bytes": {"stored_bytes"},
    "documents": {"connector_document"},
    "end_users": {"active_end_user"},
    "seats": {"seat"},
}
SAMPLED = {"stored_bytes", "active_end_user", "seat"}
MICROSECOND = timedelta(microseconds=1)
MOST_SAID = 100  # sentences; the rest is counted


class Unreadable(Exception):
    """The files are no statement."""


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, without blanks, in UTF-8: RFC 8785, as there are no fractions in it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def rounded(exact: Decimal) -> int:
    """Whole minor units or units, half to even."""
    return int(exact.to_integral_value(rounding=ROUND_HALF_EVEN))


def verify(document: Any, events: Iterable[bytes], public_key: str = "") -> list[str]:
    """Everything that does not hold, in sentences; nothing when all of it does. Raises Unreadable."""
    try:
        with localcontext(prec=60):
            return list(_wrong(document, events, public_key))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as broken:
        raise Unreadable(f"This is no usage statement: {type(broken).__name__}: {broken}") from None


def _wrong(document: Any, events: Iterable[bytes], public_key: str) -> Iterator[str]:
    statement, signature = document["statement"], document["signature"]
    if statement["format"] != FORMAT:
        raise Unreadable(f"This is no usage statement: its format is {statement['format']}, not {FORMAT}.")
    if set(document) != {"statement", "signature"}:
        yield "The file has parts that nobody signed."
    yield from _wrong_signature(statement, signature, public_key)
    yield from _wrong_events(statement, events)
    yield from _wrong_chain(statement)
    meters = sums(statement["hours"])
    for meter in sorted(statement["meters"] | meters):
        said, real = statement["meters"].get(meter), meters.get(meter)
        if said != real:
            yield f"{meter}: the statement says {said}, its hours say {real}."
    if statement["invoice"] is not None:
        yield from _wrong_invoice(statement["invoice"], statement)


# --- The signature ---


def _wrong_signature(statement: Json, signature: Json, expected: str) -> Iterator[str]:
    """It is over the format's name, a line feed, and the statement in canonical form."""
    if set(signature) != {"key_id", "algorithm", "public_key", "value"} or signature["algorithm"] != "Ed25519":
        yield "The signature is not of the kind that it should be."
    if signature["key_id"] != f"org:{statement['organization']['id']}":
        yield "The signature names another organization than the statement."
    if expected and signature["public_key"] != expected:
        yield "The statement was signed with another key."
    key, value = (base64.b64decode(signature[name], validate=True) for name in ("public_key", "value"))
    if [base64.b64encode(one).decode() for one in (key, value)] != [signature["public_key"], signature["value"]]:
        yield "The signature is written in an unusual way."
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(value, FORMAT.encode() + b"\n" + canonical(statement))
    except InvalidSignature:
        yield "The signature is not one of this statement."


# --- From events to hours ---


def _wrong_events(statement: Json, events: Iterable[bytes]) -> Iterator[str]:
    """Add the events up, hour by hour, and compare with what the statement says of each."""
    since, until = (datetime.fromisoformat(moment) for moment in statement["period"]["hours"])
    digests: defaultdict[str, Any] = defaultdict(hashlib.sha256)
    counted: defaultdict[str, defaultdict[str, Json]] = defaultdict(
        lambda: defaultdict(lambda: {"quantity": 0, "events": 0})
    )
    last = ""
    for number, line in enumerate(events, start=1):
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
        hour = at.replace(minute=0, second=0, microsecond=0).isoformat()
        digests[hour].update(line)
        counted[hour][event["meter"]]["quantity"] += event["quantity"]
        counted[hour][event["meter"]]["events"] += 1
    said = {one["hour"]: one for one in statement["hours"]}
    for hour in sorted(said.keys() | counted.keys()):
        before, now = said.get(hour, {"meters": {}, "sha256": ""}), counted[hour]
        for meter in sorted(before["meters"].keys() | now.keys()):
            was, is_now = before["meters"].get(meter, {"quantity": 0, "events": 0}), now[meter]
            for what in ("quantity", "events"):
                if was[what] != is_now[what]:
                    yield f"{hour} {meter}: the statement says {what} {was[what]}, the events say {is_now[what]}."
        if before["sha256"] != digests[hour].hexdigest():
            yield f"{hour}: the hash of the events is another one."


def _event(line: bytes) -> Json | None:
    """An event, if the line is exactly one in canonical form, its time in UTC."""
    try:
        event = json.loads(line)
        at = datetime.fromisoformat(event["at"])
        is_one = set(event) == EVENT and type(event["quantity"]) is int and isinstance(event["id"], str)
        is_utc = at.utcoffset() is not None and not at.utcoffset()
        return event if is_one and is_utc and canonical(event) + b"\n" == line else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _wrong_chain(statement: Json) -> Iterator[str]:
    """Each link is a hash over the one before and its hour: none can be taken out, added or changed."""
    link = ""
    for entry in statement["hours"]:
        plain = {name: value for name, value in entry.items() if name != "chain"}
        link = hashlib.sha256(link.encode() + b"\n" + canonical(plain)).hexdigest()
        if entry["chain"] != link:
            yield f"{entry['hour']}: the chain is broken."
            link = entry["chain"]
    if statement["chain"] != link:
        yield "The chain does not end where the statement says."


# --- From hours to the invoice ---


def sums(hours: Iterable[Json], since: str = "", until: str = "~") -> dict[str, int]:
    """What hours come to, by meter: counts add up, stored bytes are an average, other samples their highest."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for one in hours:
        if since <= one["hour"] < until:
            for meter, of in one["meters"].items():
                found[meter].append(of["quantity"])
    return {meter: _combined(meter, values) for meter, values in found.items()}


def _combined(meter: str, values: list[int]) -> int:
    if meter == "stored_bytes":
        return sum(values) // len(values)
    return max(values) if meter in SAMPLED else sum(values)


def _wrong_invoice(invoice: Json, statement: Json) -> Iterator[str]:
    terms = invoice["terms"]
    billed = set()
    for line in invoice["lines"]:
        exact, whole = Decimal(line["unit_price"]) * line["quantity"], line["amount"] + line["covered"]
        if exact != whole + Decimal(line["remainder"]):
            yield f"Line {line['place']}: quantity times price is not its amount."
        if line["part"] is None and rounded(exact) != whole:
            yield f"Line {line['place']}: it is rounded wrongly."
        if line["kind"] in {"plan", "seats", "usage"}:
            billed.add(line["allowance"])
            yield from _wrong_line(line, terms, statement["hours"])
    used = sums(statement["hours"])
    for name in [] if terms["is_free"] else sorted(terms["allowances"]):
        if name not in billed and METERS[name] & used.keys():
            yield f"{name}: it was used, and no line says so."
    total = sum(line["amount"] for line in invoice["lines"])
    if total != invoice["total"]:
        yield f"The invoice's total is {invoice['total']}, its lines come to {total}."


def _wrong_line(line: Json, terms: Json, hours: list[Json]) -> Iterator[str]:
    """What a line of the period's own bills, by the terms and the hours.

    Where the plan or the seats changed within the period, or it is no whole month, a line is for a part of it: then the
    terms of the part hold, and time shares what does not depend on use.
    """
    held, share = terms, (Decimal(0), Decimal(1))
    if line["part"] is not None:
        held = next(one for one in terms["parts"] if one["start"] <= line["part"][0] < one["end"])
        span = held["month"] if line["kind"] != "usage" else [terms["parts"][0]["start"], terms["parts"][-1]["end"]]
        share = _passed(line["part"][0], span), _passed(line["part"][1], span)
    price, units = Decimal(held["fee"]), 1
    if line["kind"] != "plan":
        price, units, used = _used(line, held, share, hours)
        if (line["used"], line["quantity"]) != (used, units):
            said = f"it bills {line['quantity']} of {line['used']} used"
            yield f"Line {line['place']}: {said}, the hours say {units} of {used}."
    if line["kind"] != "usage":
        since, until = (round(price * one, 12) for one in share)
        price = until - since
        if rounded(until * units) - rounded(since * units) != line["amount"] + line["covered"]:
            yield f"Line {line['place']}: the parts of its month do not add up to the month."
    if (Decimal(line["unit_price"]), line["quantity"]) != (price, units):
        yield f"Line {line['place']}: {line['quantity']} at {line['unit_price']} are not {units} at {price}."


def _used(line: Json, held: Json, share: tuple[Decimal, Decimal], hours: list[Json]) -> tuple[Decimal, int, int]:
    """The price of a unit, the units that are billed, and what was used: seats are those bought at least.

    Of a part, what is included is shared by time; samples are levels, of which the excess is.
    """
    meters, included = METERS[line["allowance"]], held["allowances"][line["allowance"]]
    measured, free = sums(hours, *line["hours"]), included["quantity"]
    used = sum(measured.get(meter, 0) for meter in meters)
    if line["kind"] == "seats":
        used = max(used, held["seats"])
    elif not meters & SAMPLED:
        free = _shared(free, share)
    units = max(0, used - free) if included["overage"] is not None else 0
    if line["kind"] == "usage" and meters & SAMPLED:
        units = _shared(units, share)
    return Decimal(included["overage"] or 0), units, used


def _passed(moment: str, span: list[str]) -> Decimal:
    """How much of a span has passed at a moment, exact to the microsecond."""
    start, end, now = (datetime.fromisoformat(one) for one in (*span, moment))
    return Decimal((now - start) // MICROSECOND) / Decimal((end - start) // MICROSECOND)


def _shared(quantity: int, share: tuple[Decimal, Decimal]) -> int:
    """Whole units of a part: those of all parts add up to the whole."""
    since, until = (rounded(round(quantity * one, 12)) for one in share)
    return until - since


# --- The command ---


def _once(pairs: list[tuple[str, Any]]) -> Json:
    if len(dict(pairs)) != len(pairs):
        raise Unreadable("This is no usage statement: a name is in it twice.")
    return dict(pairs)


def read(path: Path) -> Any:
    """A statement's file. Raises Unreadable."""
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as broken:
        raise Unreadable(f"This is no usage statement: {broken}") from None


def check(statement: Path, events: Path, public_key: str = "") -> tuple[list[str], str]:
    """What does not hold, and what to say when all of it does. Raises Unreadable, OSError."""
    document = read(statement)
    with events.open("rb") as lines:
        found = verify(document, lines, public_key)
    if len(found) > MOST_SAID:
        found = [*found[:MOST_SAID], f"… and {len(found) - MOST_SAID} more."]
    hours, key = document["statement"]["hours"], document["signature"]
    count = sum(of["events"] for hour in hours for of in hour["meters"].values()) if not found else 0
    said = f"Everything holds: {len(hours)} hours, {count} events, signed by {key['key_id']} with {key['public_key']}."
    return found, said


def main() -> int:
    """Check two files, and say it."""
    parser = argparse.ArgumentParser(description="Check a usage statement and the invoice in it.")
    parser.add_argument("statement", type=Path)
    parser.add_argument("events", type=Path)
    parser.add_argument("--public-key", default="", help="the organization's key, base64")
    options = parser.parse_args()
    try:
        found, said = check(options.statement, options.events, options.public_key)
    except (Unreadable, OSError) as broken:
        print(broken, file=sys.stderr)
        return 2
    print("\n".join(found) if found else said)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
