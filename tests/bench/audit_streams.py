"""How long an event of the trail takes to a customer's server, under load, beside how long its seal takes."""

import threading
import time
from collections.abc import Callable
from uuid import UUID

import psycopg
from django.db import connections

from capsule_cloud.lib import embedded
from tenancy.audit.sealing import sealer
from tenancy.audit.streams import engine, services
from tenancy.scope import scope
from tests.bench import report
from tests.bench.audit_sealing import INSERT, LAGS
from tests.bench.deliveries import sink
from tests.bench.machine import Cpu
from tests.bench.report import Row
from tests.bench.world import World
from tests.factories import make_tenant

ORGANIZATIONS = 20
RATE, SECONDS, QUICK_SECONDS = 500, 60.0, 15.0
TICK = 1.0  # seconds: as often as the schedule wakes the sealer and the streams
TARGET = 5.0  # seconds
DRAIN = 60.0
ARRIVALS = """
    SELECT percentile_cont(%s) WITHIN GROUP (ORDER BY extract(epoch FROM
        d.started_at + d.milliseconds * interval '1 millisecond' - uuid_extract_timestamp(l.event_id)
    )), count(DISTINCT (l.organization_id, l.seq))
    FROM audit_sealing_leaf l JOIN audit_streams_delivery d ON d.organization_id = l.organization_id
        AND l.seq >= d.first AND l.seq < d.first + d.count AND d.has_arrived
    WHERE l.organization_id = ANY(%s)
"""


def measure(world: World) -> str:
    """A table: the lag of streams at a steady rate, all events of them arrived."""
    seconds, cpu = (QUICK_SECONDS if world.is_quick else SECONDS), Cpu()
    of = []
    with sink() as url, psycopg.connect(embedded.urls().superuser, autocommit=True) as server:
        for _ in range(ORGANIZATIONS):
            tenant = make_tenant()
            sealer.seal(budget=600)
            with scope(tenant.organization):
                services.create(actor=tenant.actor, name="SIEM", kind="https", options={"url": url}, secrets={})
            of.append(tenant.organization.pk)
        sealer.seal(budget=600)
        engine.deliver(budget=60)
        server.execute("DELETE FROM audit_streams_delivery WHERE organization_id = ANY(%s)", [of])
        written = _under_load(server, of, seconds)
        lags = [server.execute(ARRIVALS, [share, of]).fetchall()[0] for share in (0.5, 0.95, 0.99)]
        [(sealed,)] = server.execute(LAGS, [0.95, of]).fetchall()
    (p50, arrived), (p95, _), (p99, _) = lags
    if arrived < written:
        raise RuntimeError(f"{written - arrived} of {written} events have not arrived.")
    row = Row(
        f"stream lag at {written / seconds:,.0f} events/s of {ORGANIZATIONS} organizations",
        f"p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s",
        f"p95 {sealed:.2f} s: until it is sealed",
        "",
        f"p95 < {TARGET:.0f} s",
        p95 < TARGET and written >= 0.95 * RATE * seconds,
    )
    note = f"Others used {cpu.others():.0%} of the machine meanwhile."
    return f"{report.table(('recorded until answered', 'the least'), [row])}\n\n{note}"


def _under_load(server: psycopg.Connection, of: list[UUID], seconds: float) -> int:
    """Events at a steady rate, while the sealer and the streams wake each TICK; how many."""
    is_over = threading.Event()

    def wake(work: Callable[[], object]) -> None:
        while not is_over.is_set():
            woken = time.monotonic()
            work()
            is_over.wait(max(0.0, woken + TICK - time.monotonic()))
        connections.close_all()

    threads = [threading.Thread(target=wake, args=(work,)) for work in (sealer.seal, engine.deliver)]
    for thread in threads:
        thread.start()
    begun, written = time.monotonic(), 0
    while (now := time.monotonic()) < begun + seconds:
        if (due := int((now - begun) * RATE) - written) > 0:  # several where the machine was busy
            turn = written % len(of)
            server.execute(INSERT, {"of": [*of[turn:], *of[:turn]], "count": due})
            written += due
        else:
            time.sleep(0.001)
    is_over.set()
    for thread in threads:
        thread.join()
    _drain()
    return written


def _drain() -> None:
    """Send the rest."""
    ends_at = time.monotonic() + DRAIN
    while time.monotonic() < ends_at:
        sealer.seal()
        if not engine.deliver(budget=10):
            return
