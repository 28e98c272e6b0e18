"""Kills web workers, shippers, broker and PostgreSQL under load: is every acknowledged call counted exactly once?"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psycopg
from django.db import connections

from billing.metering import services
from capsule_cloud.lib import embedded
from tests.chaos.clients import INGEST, RECALL, Deed
from tests.chaos.killing import kill_under_load
from tests.chaos.servers import product

# Who dies how often: a shipper's transaction is what can go wrong; a web server takes seconds to come back.
WEIGHTS = {
    "shipper": 8,
    "PostgreSQL": 4,
    "PostgreSQL backend": 3,
    "broker": 3,
    "web worker": 3,
    "jobs": 2,
    "scheduler": 1,
    "web server": 2,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was told and what was counted; events and hours as quantity and number by meter."""

    killed: Counter[str]
    seconds: float
    acknowledged: int
    lost: int
    double: int
    events: dict[str, tuple[int, int]]
    hours: dict[str, tuple[int, int]]

    @property
    def is_exact(self) -> bool:
        """Nothing lost, nothing double, and the hours are the events."""
        return not self.lost and not self.double and self.events == self.hours and self.acknowledged > 0

    def __str__(self) -> str:
        kills = ", ".join(f"{victim} {number}" for victim, number in sorted(self.killed.items()))
        return (
            f"{sum(self.killed.values())} kill -9 in {self.seconds:.0f} s: {kills}\n"
            f"acknowledged {self.acknowledged}, lost {self.lost}, double {self.double}\n"
            f"events {self.events}\nhours  {self.hours}\n"
            f"{'hourly == events' if self.hours == self.events else 'hourly != events'}"
        )


def prove(folder: Path, victims: Mapping[str, int], *, kills: int, seed: int) -> Outcome:
    """Run the product on the folder and kill so often under load; the outcome once all is shipped and rolled up."""
    started = time.monotonic()
    with product(folder, "shipper") as servers:
        killed, clients = kill_under_load(servers, victims, (INGEST, RECALL), kills, Random(seed))
        servers.stop("shipper", "scheduler", "jobs", "web")
        connections.close_all()
        services.ship()
        services.roll_up()
        return outcome_of(clients.deeds, killed, time.monotonic() - started)


def outcome_of(deeds: list[Deed], killed: Counter[str], seconds: float) -> Outcome:
    """Compare what clients know with what is stored."""
    with psycopg.connect(embedded.urls().superuser, autocommit=True) as server:
        counted = {
            (kind, name): number
            for kind, name, number in server.execute(
                "SELECT meter, end_user, count(*) FROM metering_usageevent GROUP BY meter, end_user"
            )
        }
        events, hours = (
            {meter: (int(quantity), int(number)) for meter, quantity, number in server.execute(query)}
            for query in (
                "SELECT meter, sum(quantity), count(*) FROM metering_usageevent GROUP BY meter ORDER BY meter",
                "SELECT meter, sum(quantity), sum(events) FROM metering_usagehour GROUP BY meter ORDER BY meter",
            )
        )
    lost = double = 0
    for deed in deeds:
        number = counted.pop((deed.kind, deed.name), 0)
        lost += deed.is_acknowledged and not number
        # a repeated ingest is the same deed by its key; a recall whose answer was lost was served, and counts
        double += max(0, number - (1 if deed.kind == INGEST else deed.attempts))
    double += sum(number for (kind, _), number in counted.items() if kind in {"ingest", "recall"})
    return Outcome(killed, seconds, sum(deed.is_acknowledged for deed in deeds), lost, double, events, hours)
