"""A usage statement: what a period used, hour by hour, each with a hash of its events.

docs/api/verify_statement.py is the other half: it shares no code with this, and whoever checks an invoice needs none.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from billing.invoicing.usage import RawEvent, summed
from billing.metering.hours import hour_of

FORMAT = "capsule-usage-statement/2"


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
