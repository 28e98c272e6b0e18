"""How fast the trail is sealed, how far behind the sealer is under load, and how fast an export of it is checked."""

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from uuid import UUID, uuid4

import psycopg
from django.db import connections
from django.utils import timezone

from capsule_cloud.lib import embedded
from capsule_cloud.management.commands.verify_audit import PROGRAM
from tenancy.audit.sealing import exporting, keys, notes, sealer, selectors
from tenancy.scope import scope
from tests.bench import report
from tests.bench.machine import Cpu
from tests.bench.report import Row
from tests.bench.world import World
from tests.tenancy.audit.sealing.made_exports import digest, publish

EVENTS, QUICK_EVENTS = 100_000, 20_000
EACH = 10_000  # events in a transaction
SEALED_TARGET, CHECKED_TARGET, LAG_TARGET = 20_000, 100_000, 5.0
RATE, SECONDS, QUICK_SECONDS = 500, 30.0, 8.0  # of the load under which the sealer works
TICK = 1.0  # seconds: as often as the schedule wakes it
# Bodies of 683 bytes, as the catalogue's are on average
INSERT = """
    INSERT INTO audit_auditevent (organization_id, id, action, actor_id, target_id, body)
    SELECT o, i, 'organization.project.updated', '', '', '{"id":"' || i || '","organization_id":"' || o
        || '","recorded_at":"2026-11-29T10:00:00.000001Z","v":1,"n":' || n || ',"x":"' || repeat('x', 518) || '"}'
    FROM (
        SELECT n, (%(of)s::uuid[])[1 + n %% cardinality(%(of)s::uuid[])] AS o, uuidv7() AS i
        FROM generate_series(1, %(count)s) AS n
    ) AS e
"""
# What any way of sealing must do at least: hash, and store the leaf with its two indexes
BARE_TABLE = """
    CREATE TABLE audit_bench_leaf (organization_id uuid, seq bigint, event_id uuid, hash bytea,
        PRIMARY KEY (organization_id, seq), UNIQUE (organization_id, event_id));
"""
BARE = """
    INSERT INTO audit_bench_leaf
    SELECT organization_id, row_number() OVER (PARTITION BY organization_id ORDER BY xid, id), id,
        sha256('\\x00'::bytea || convert_to(body, 'UTF8'))
    FROM audit_auditevent WHERE organization_id = ANY(%s)
"""
BODIES = """
    SELECT e.body FROM audit_sealing_leaf l
    JOIN audit_auditevent e ON e.organization_id = l.organization_id AND e.id = l.event_id
    WHERE l.organization_id = %(of)s AND e.organization_id = %(of)s ORDER BY l.seq
"""
LAGS = """
    SELECT percentile_cont(%s) WITHIN GROUP (ORDER BY extract(epoch FROM (
        SELECT min(c.at) FROM audit_sealing_checkpoint c
        WHERE c.organization_id = l.organization_id AND c.size > l.seq
    ) - uuid_extract_timestamp(l.event_id)))
    FROM audit_sealing_leaf l WHERE l.organization_id = ANY(%s)
"""


def measure(world: World) -> str:
    """A table: sealing beside storing bare leaves, lag under load, proofs, and the program beside bare hashing."""
    count = QUICK_EVENTS if world.is_quick else EVENTS
    cpu = Cpu()
    sealer.seal(budget=600)
    with psycopg.connect(embedded.urls().superuser, autocommit=True) as server:
        server.execute(BARE_TABLE)
        lines = [_sealing(server, organizations, count, 3) for organizations in (1, 10, 1_000)]
        lines.append(_lag(server, QUICK_SECONDS if world.is_quick else SECONDS))
        server.execute("DROP TABLE audit_bench_leaf")
        [largest] = _events(server, 1, count)
    sealer.seal(budget=600)
    with psycopg.connect(embedded.urls().superuser, autocommit=True) as server:
        server.execute("ANALYZE audit_auditevent, audit_sealing_leaf")  # which autovacuum does a minute later
    lines += [_proofs(largest), _checking(world.folder, largest)]
    note = f"Others used {cpu.others():.0%} of the machine meanwhile."
    return f"{report.table(('the product', 'the least'), lines)}\n\n{note}"


def _events(server: psycopg.Connection, organizations: int, count: int) -> list[UUID]:
    """So many events of so many new organizations, in transactions of EACH."""
    of = [uuid4() for _ in range(organizations)]
    for _ in range(count // EACH):
        server.execute(INSERT, {"of": of, "count": EACH})
    return of


def _sealing(server: psycopg.Connection, organizations: int, count: int, rounds: int) -> Row:
    ours, bare, a_cpu_second = [], [], []
    for _ in range(rounds):
        of = _events(server, organizations, count)
        cpu, python = Cpu(), time.process_time()
        ours.append(count / _seconds(lambda: sealer.seal(budget=600)))
        a_cpu_second.append(count / (cpu.servers() + time.process_time() - python))
        bare.append(count / _seconds(partial(server.execute, BARE, [of])))
    share = median(one / other for one, other in zip(ours, bare, strict=True))
    rate = median(ours)
    return Row(
        f"seal, organizations: {organizations:,}",
        f"{rate:,.0f} events/s, {median(a_cpu_second):,.0f} a CPU-s",
        f"{median(bare):,.0f}/s: hashes and leaves",
        f"{share:.2f} x",
        f"≥ {SEALED_TARGET:,}/s",
        rate >= SEALED_TARGET,
    )


def _lag(server: psycopg.Connection, seconds: float) -> Row:
    """Events of 100 organizations at a steady rate, one a transaction; the sealer wakes each TICK."""
    of, is_over = [uuid4() for _ in range(100)], threading.Event()

    def seal_on() -> None:
        while not is_over.is_set():
            woken = time.monotonic()
            sealer.seal()
            is_over.wait(max(0.0, woken + TICK - time.monotonic()))
        connections.close_all()

    thread = threading.Thread(target=seal_on)
    thread.start()
    begun, written = time.monotonic(), 0
    while (now := time.monotonic()) < begun + seconds:
        if written < (now - begun) * RATE:
            server.execute(INSERT, {"of": of[written % 100 : written % 100 + 1], "count": 1})
            written += 1
        else:
            time.sleep(0.001)
    is_over.set()
    thread.join()
    sealer.seal()
    [(p50,)] = server.execute(LAGS, [0.5, of]).fetchall()
    [(p99,)] = server.execute(LAGS, [0.99, of]).fetchall()
    return Row(
        f"lag at {written / seconds:,.0f} events/s",
        f"p50 {p50:.2f} s, p99 {p99:.2f} s",
        f"{TICK:.0f} s: the schedule",
        "",
        f"p99 < {LAG_TARGET:.0f} s",
        p99 < LAG_TARGET,
    )


def _proofs(organization_id: UUID) -> Row:
    with scope(organization_id):
        leaves = selectors.leaves(0, 10**9)[::500]
        took = _seconds(lambda: [selectors.inclusion_proof(one.event_id) for one in leaves]) / len(leaves)
        size = selectors.sealed_size()
        grown = _seconds(lambda: [selectors.consistency_proof(n, size) for n in range(1, size, size // 100)]) / 100
    return Row(f"a proof among {size:,}", f"inclusion {took * 1000:.1f} ms", f"growth {grown * 1000:.1f} ms", "")


def _checking(folder: Path, organization_id: UUID) -> Row:
    """An export in JSON Lines, as a customer's machine checks it, its start included."""
    place = folder / "checked"
    place.mkdir()
    data, hashes = place / "trail.jsonl", place / "trail.hashes"
    with scope(organization_id), hashes.open("wb") as stream:
        size = selectors.sealed_size()
        with (
            psycopg.connect(embedded.urls().superuser, autocommit=True) as server,
            data.open("wb") as out,
            server.cursor(name="bodies", withhold=True) as bodies,
        ):
            bodies.execute(BODIES, {"of": organization_id})
            out.writelines(f"{body}\n".encode() for (body,) in bodies)
        exporting.write_hashes(stream, size=size, first=0, count=size)
        stream.flush()
        checkpoint = selectors.latest_checkpoint()
        assert checkpoint is not None
        files = [
            exporting.File(path.name, "jsonl", "none", 0, size, path.stat().st_size, digest(path))
            for path in (data, hashes)
        ]
        manifest = exporting.manifest(
            checkpoint=checkpoint,
            files=files[:1],
            hashes=files[1],
            first=0,
            count=size,
            columns={},
            created_at=timezone.now(),
        )
    (place / "trail.manifest.json").write_bytes(manifest)
    publish(place / "audit-keys.json", *[notes.Signer(one, b"") for one in keys.public_halves()])
    command = [sys.executable, str(PROGRAM), "export", str(place / "trail.manifest.json"), "--keys"]
    run = [*command, str(place / "audit-keys.json")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    rates = [size / _seconds(lambda: subprocess.run(run, check=True, stdout=subprocess.DEVNULL)) for _ in range(3)]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    a_cpu_second = 3 * size / (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    loop = "import hashlib,sys\nfor line in open(sys.argv[1], 'rb'): hashlib.sha256(b'\\x00' + line[:-1]).digest()"
    bare = size / _seconds(lambda: subprocess.run([sys.executable, "-c", loop, str(data)], check=True))
    rate = median(rates)
    return Row(
        f"verify_audit.py, {size:,} events",
        f"{rate:,.0f} events/s, {a_cpu_second:,.0f} a CPU-s",
        f"{bare:,.0f}/s: SHA-256 of each line",
        f"{rate / bare:.2f} x",
        f"≥ {CHECKED_TARGET:,}/s",
        rate >= CHECKED_TARGET,
    )


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
