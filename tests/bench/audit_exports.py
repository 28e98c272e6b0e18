"""Measures the export of an organization's trail against COPY TO STDOUT of the same rows, and how much memory it takes.

`python -m tests.bench.audit_exports [--events N]` prints a table in Markdown.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from uuid import UUID

import django
import psycopg

from capsule_cloud.lib import embedded
from tests.bench import machine, report
from tests.bench.house import ROOT, house
from tests.bench.machine import Cpu
from tests.bench.report import Row

EVENTS, ROUNDS, MOST_MEMORY = 1_000_000, 3, 250.0  # MB
WRITERS, AT_ONCE = 4, 500  # transactions that overlap, so that events are not sealed in the order of their ids
LEAST = {"jsonl": 0.9, "csv": 0.7, "parquet": 0.6}
NAMES = {"jsonl": "JSON Lines", "csv": "CSV", "parquet": "Parquet"}
FILL = """
WITH made AS (SELECT uuidv7() AS id, clock_timestamp() AS at, n FROM generate_series({first}, {last}) AS n)
INSERT INTO audit_auditevent (organization_id, id, action, actor_id, target_id, body)
SELECT '{organization}', id, 'memory.capsule.pinned', 'member-' || n % 50, 'capsule-' || n,
    '{{"id":"' || id || '","organization_id":"{organization}","recorded_at":"'
    || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    || '","v":1,"action":"memory.capsule.pinned","actor":{{"kind":"user","id":"member-' || n % 50
    || '","label":{{"pseudonym":"' || md5((n % 50)::text) || '"}}}},"target":{{"kind":"capsule","id":"capsule-' || n
    || '","label":"Preferences of a customer, noted on a Tuesday"}},"context":{{"request_id":"' || gen_random_uuid()
    || '","ip":{{"pseudonym":"' || md5((n % 1000)::text) || '"}},"user_agent":{{"pseudonym":"' || md5('browser')
    || '"}},"session_id":""}},"metadata":{{"project_id":"' || gen_random_uuid() || '","capsule_id":"' || n
    || '","user_id":{{"pseudonym":"' || md5((n % 5000)::text) || '"}}}}}}'
FROM made
"""


def main() -> None:
    """Make the trail, seal it, export it and copy it in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--one", nargs=2, help="(for itself) measure this in a process of its own")
    asked = parser.parse_args()
    if asked.one:
        django.setup()
        print(json.dumps(one(asked.one[0], UUID(asked.one[1]))))
        return
    with house() as folder:
        os.environ["EXPORTS_DIR"] = str(folder / "exports")
        django.setup()
        organization = make_trail(asked.events)
        cpu = Cpu()
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in ("copy", *LEAST)}
        for _ in range(ROUNDS):
            for name, results in taken.items():
                results.append(in_a_process(name, organization))
        others = cpu.others()
    print(table(asked.events, taken))
    print(f"\nOthers used {others:.0%} of the machine meanwhile.")


def make_trail(events: int) -> UUID:
    """One organization with so many sealed events."""
    from tenancy.audit.sealing import sealer  # noqa: PLC0415  # needs the setup
    from tests.factories import make_tenant  # noqa: PLC0415

    organization = UUID(str(make_tenant().organization.pk))
    address = embedded.urls().superuser

    def fill(writer: int) -> None:
        with psycopg.connect(address, dbname=embedded.DATABASE, autocommit=True) as server:
            for first in range(writer * AT_ONCE, events, WRITERS * AT_ONCE):
                last = min(first + AT_ONCE, events) - 1
                server.execute(FILL.format(organization=organization, first=first, last=last).encode())

    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(fill, range(WRITERS)))
    while sealer.seal():
        pass
    with psycopg.connect(address, dbname=embedded.DATABASE, autocommit=True) as server:
        server.execute("VACUUM ANALYZE")
    return organization


def in_a_process(name: str, organization: UUID) -> dict[str, float]:
    """What `one` measures in a fresh process, as a job worker is one."""
    call = [sys.executable, "-m", "tests.bench.audit_exports", "--one", name, str(organization)]
    done = subprocess.run(call, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(name: str, organization: UUID) -> dict[str, float]:
    """Seconds, rows, and the most memory that this process ever had, in MB."""
    from django.db import connection  # noqa: PLC0415  # needs the setup

    from tenancy.audit.exports import selectors, services, turns, writing  # noqa: PLC0415
    from tenancy.audit.services import SYSTEM  # noqa: PLC0415
    from tenancy.scope import scope  # noqa: PLC0415

    if name == "copy":
        query = f"COPY (SELECT * FROM audit_auditevent WHERE organization_id = '{organization}') TO STDOUT"
        with scope(organization), connection.cursor() as cursor:
            used = used_from_now(connection.connection.info.backend_pid)
            began, rows = time.perf_counter(), 0
            with cursor.copy(query) as copy:
                for _ in copy:
                    rows += 1
            return {"seconds": time.perf_counter() - began, "rows": rows, "cpu": used(), "memory": memory()}
    with scope(organization):
        export = services.request(actor=SYSTEM, wish=services.Wish(form=name))
    used = used_from_now(connection.connection.info.backend_pid)
    began = time.perf_counter()
    turn = turns.claim()
    if turn is None or turn.export_id != export.pk:
        raise SystemExit("The export is not due.")
    writing.attend(turn)
    seconds, cpu = time.perf_counter() - began, used()
    with scope(organization):
        written = selectors.export(export.pk)
    if not written.is_written:
        raise SystemExit(f"The export is {written.state}: {written.failure}")
    for path in Path(os.environ["EXPORTS_DIR"]).glob("kept/*/*"):
        path.unlink()  # the next one finds the disk as this one did
    return {"seconds": seconds, "rows": written.rows, "cpu": cpu, "memory": memory()}


def used_from_now(backend: int) -> Callable[[], float]:
    """Gives the CPU seconds that this process and PostgreSQL's processes have used since: others do not move them."""
    server = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])

    def total() -> float:
        ticks = 0
        for process in (server, *machine.children(server)):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15] if process == server else fields[11:13]))  # with those that ended
        return time.process_time() + ticks / machine.TICK

    before = total()
    return lambda: total() - before


def memory() -> float:
    """The most that this process ever had, in MB."""
    return getrusage(RUSAGE_SELF).ru_maxrss / 1024


def table(events: int, taken: dict[str, list[dict[str, float]]]) -> str:
    """Each format's best beside COPY's best of the same run."""
    best = {name: min(results, key=lambda result: result["seconds"]) for name, results in taken.items()}
    if any(result["rows"] < events for result in best.values()):
        raise SystemExit("Not everything was exported.")
    copied = best["copy"]["seconds"]
    rows = [
        Row(
            "COPY TO STDOUT",
            f"{copied:.1f} s",
            f"{events / copied:,.0f} a second, {cpu(best['copy'], events)}",
            "1.00",
            "the limit",
            None,
        )
    ]
    for name, least in LEAST.items():
        seconds, most = best[name]["seconds"], max(result["memory"] for result in taken[name])
        ratio = copied / seconds
        is_met = ratio >= least and most < MOST_MEMORY
        text = f"{events / seconds:,.0f} a second, {cpu(best[name], events)}, at most {most:.0f} MB"
        rows.append(
            Row(NAMES[name], f"{seconds:.1f} s", text, f"{ratio:.2f}", f"≥ {least}, < {MOST_MEMORY:.0f} MB", is_met)
        )
    return report.table((f"{events:,} events, best of {ROUNDS}", "with hashes and manifest"), rows)


def cpu(result: dict[str, float], events: int) -> str:
    """CPU for one event, of PostgreSQL and ours."""
    return f"{result['cpu'] / events * 1e6:.1f} µs CPU each"


if __name__ == "__main__":
    main()
