"""What counting costs: a read's line in the spool, and storing the lines beside a bare COPY into the same table."""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from uuid import UUID, uuid4

import psycopg

from billing.metering import services, spool
from billing.metering.meters import Meter
from billing.metering.services import Use
from capsule_cloud.lib import embedded
from tests.bench import report
from tests.bench.machine import Cpu
from tests.bench.report import Row
from tests.bench.world import World

ORGANIZATIONS, SKEW = 1_000, 0.9  # by Zipf: the first uses most
METERS = (Meter.RECALL, Meter.READ, Meter.EXPORT, Meter.SEAL)
EVENTS, QUICK_EVENTS = 200_000, 50_000
APPEND_TARGET = 50.0  # microseconds, p99
COPY_SHARE, A_CPU_SECOND = 0.25, 60_000
COPY = (
    "COPY metering_usageevent"
    " (id, organization_id, project_id, key_id, quantity, occurred_at, written_by, meter, end_user) FROM STDIN"
)


@dataclass(frozen=True, slots=True)
class Stored:
    """How fast events were stored, by the clock and by the CPU of every process of PostgreSQL."""

    a_second: float
    a_cpu_second: float
    others: float

    def __str__(self) -> str:
        return f"{self.a_second:,.0f}/s, {self.a_cpu_second:,.0f} a CPU-s of PostgreSQL"


def measure(world: World) -> str:
    """A table: appending to the spool beside a bare write, shipping beside a bare COPY."""
    number = QUICK_EVENTS if world.is_quick else EVENTS
    uses = _uses(number)
    services.ship()
    stored, copied = [], []
    appended: list[float] = []
    with psycopg.connect(embedded.urls().superuser, autocommit=True) as server:
        for _ in range(world.rounds):
            appended += _append([use() for use in uses])
            stored.append(_timed(services.ship, number))
            rows = _rows([use() for use in uses])
            copied.append(_timed(partial(_copy, server, rows), number))
    share = median(ours.a_second / theirs.a_second for ours, theirs in zip(stored, copied, strict=True))
    ours, theirs = (sorted(some, key=lambda one: one.a_second)[len(some) // 2] for some in (stored, copied))
    written = _write([b"x" * 275] * number)
    is_quick_enough = _p99(appended) < APPEND_TARGET
    lines = [
        Row("spool append", _micro(appended), _micro(written), "", f"p99 < {APPEND_TARGET:.0f} µs", is_quick_enough),
        Row("ship", str(ours), str(theirs), f"{share:.2f} x", f"≥ {COPY_SHARE} x", share >= COPY_SHARE),
    ]
    a_cpu_second = median(one.a_cpu_second for one in stored)
    lines.append(
        Row("ship, by CPU", f"{a_cpu_second:,.0f} a CPU-s", "", "", f"≥ {A_CPU_SECOND:,}", a_cpu_second >= A_CPU_SECOND)
    )
    shares = [one.others for one in stored + copied]
    note = f"Others used {sum(shares) / len(shares):.0%} of the machine meanwhile (at most {max(shares):.0%})."
    return f"{report.table(('the product', 'bare write, bare COPY'), lines)}\n\n{note}"


def _uses(number: int) -> list[Callable[[], Use]]:
    """As many uses to make, each with an id of its own, of 1,000 organizations."""
    chance = random.Random(7)
    weights = [(n + 1) ** -SKEW for n in range(ORGANIZATIONS)]
    places = [(uuid4(), uuid4(), uuid4()) for _ in range(ORGANIZATIONS)]

    def of(place: tuple[UUID, UUID, UUID], n: int) -> Callable[[], Use]:
        return lambda: Use(*place, METERS[n % len(METERS)], 1, f"user-{n % 5000}")

    return [of(place, n) for n, place in enumerate(chance.choices(places, weights, k=number))]


def _append(uses: list[Use]) -> list[float]:
    """Spool them; microseconds of each."""
    took = []
    for use in uses:
        begun = time.perf_counter_ns()
        services.spool(use)
        took.append((time.perf_counter_ns() - begun) / 1000)
    spool.close()
    return took


def _write(lines: list[bytes]) -> list[float]:
    """Append them to a file and nothing else."""
    path = spool.folder() / "bare"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    took = []
    for line in lines:
        begun = time.perf_counter_ns()
        os.write(descriptor, line)
        took.append((time.perf_counter_ns() - begun) / 1000)
    os.close(descriptor)
    path.unlink()
    return took


def _rows(uses: list[Use]) -> str:
    """The same events as lines of COPY."""
    now = time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime())
    return "".join(
        f"{use.event_id}\t{use.organization_id}\t{use.project_id}\t{use.key_id}\t1\t{now}\t0\t{use.meter.value}"
        f"\t{use.end_user}\n"
        for use in uses
    )


def _copy(server: psycopg.Connection, rows: str) -> None:
    with server.cursor() as cursor, cursor.copy(COPY) as copy:
        copy.write(rows)


def _timed(work: Callable[[], object], number: int) -> Stored:
    cpu, begun = Cpu(), time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    return Stored(number / seconds, number / cpu.servers(), cpu.others())


def _micro(took: list[float]) -> str:
    return f"p50 {median(took):.1f} µs, p99 {_p99(took):.1f} µs"


def _p99(took: list[float]) -> float:
    return quantiles(took, n=100)[98]
