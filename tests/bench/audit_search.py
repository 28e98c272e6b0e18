"""How fast a search of the audit log shows its first page, each filter by itself, over millions of events.

`python -m tests.bench.audit_search [--events N]` prints a table in Markdown.
"""

import argparse
import importlib
import statistics
import time
import uuid
from typing import Any

import django
import psycopg

from capsule_cloud.lib import embedded
from tests.bench import report
from tests.bench.house import house

EVENTS, ORGANIZATIONS = 10_000_000, 10  # nine of ten events are the first organization's
ALLOWED = 50.0  # milliseconds
TIMES = 200
KEYS = 20  # of each organization; persons 1,000; targets a hundredth of the events
# The last thirty days, in order of time, by keys and by people, one in 100,000 by our staff.
FILL = """
SELECT audit_make_partitions(now() - interval '2 months', now() + interval '1 month');
ALTER TABLE audit_auditevent DISABLE TRIGGER USER;
INSERT INTO audit_auditevent (organization_id, id, action, actor_id, target_id, body)
SELECT org, id, action, actor, target, '{{"id":"' || id || '","organization_id":"' || org || '","recorded_at":"'
    || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '","v":1,"action":"' || action
    || '","actor":{{"kind":"' || kind || '","id":"' || actor || '","label":'
    || CASE WHEN kind = 'api_key' THEN '"Server (cmk_4cDBAw…)"' ELSE '{{"pseudonym":"' || md5(actor) || '"}}' END
    || '}},"target":{{"kind":"session","id":"' || target || '","label":"' || target
    || '"}},"context":{{"request_id":"' || md5(n::text) || '","ip":"' || CASE WHEN n % 1000 = 7 THEN '203.0.113.7'
    ELSE '198.51.100.' || n % 250 END || '","user_agent":"capsule-memory/1.4 python/3.13 Linux x86_64",'
    || '"session_id":""}},"metadata":{{"turns":' || n % 9 || ',"note":"' || CASE WHEN n % 1000000 = 500000
    THEN 'needle' ELSE 'hay' END || '"}}}}'
FROM (
    SELECT n, at, org, kind, uuidv7(at - clock_timestamp()) AS id,
        CASE WHEN n % 5000 = 3 THEN 'access.denied' WHEN n % 50000 = 4 THEN 'organization.member.role_changed'
            WHEN n % 3 = 0 THEN 'memory.read' ELSE 'memory.session.ingested' END AS action,
        CASE kind WHEN 'api_key' THEN md5('key' || n % {keys} || org) WHEN 'staff' THEN md5('staff')
            ELSE md5('person' || n % 1000 || org) END::uuid::text AS actor,
        'session-' || n / 100 AS target
    FROM (
        SELECT n, now() - interval '30 days' + n * interval '30 days' / {events} AS at,
            CASE WHEN n % 10 = 9 THEN md5('org' || n / 10 % {organizations})::uuid ELSE '{first}'::uuid END AS org,
            CASE WHEN n % 100000 = 2 THEN 'staff' WHEN n % 20 = 5 THEN 'user' ELSE 'api_key' END AS kind
        FROM generate_series(1, {events}) AS n
    ) AS born
) AS said;
ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER no_change;
ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER no_truncate;
"""

SIZE = """
SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits WHERE inhparent = 'audit_auditevent'::regclass
"""


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    events = parser.parse_args().events
    first = uuid.UUID("0198c5d2-f0e4-7b0c-9d6a-1b2c3d4e5f00")
    with house():
        django.setup()
        with psycopg.connect(embedded.urls().superuser, dbname=embedded.DATABASE, autocommit=True) as server:
            begun = time.perf_counter()
            server.execute(FILL.format(events=events, first=first, keys=KEYS, organizations=ORGANIZATIONS).encode())
            server.execute("VACUUM ANALYZE audit_auditevent")
            taken = time.perf_counter() - begun
            [(size,)] = server.execute(SIZE).fetchall()
            print(f"{events:,} events, made in {taken:.0f} s, {size / 2**30:.1f} GiB with their indexes.\n")
            print(report.table(("first page of 50", "when the time was over"), _measure(server, first)))


def _measure(server: "psycopg.Connection[Any]", first: uuid.UUID) -> list[report.Row]:
    selectors = importlib.import_module("tenancy.audit.selectors")
    key, person = (str(uuid.UUID(_md5(server, f"{name}{first}"))) for name in ("key5", "person105"))
    # what, filters, the index that must lead there (where none does, nothing is promised)
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("no filter", {}, "pkey"),
        ("actor: a key with a 20th of the events", {"actor": key}, "actor_id_id_idx"),
        ("actor: a person with a 20,000th", {"actor": person}, "actor_id_id_idx"),
        ("actor: nobody", {"actor": str(uuid.uuid4())}, "actor_id_id_idx"),
        ("target: the oldest session", {"target": "session-1"}, "target_id_id_idx"),
        ("action: all of memory", {"action": "memory"}, "action_id_idx"),
        ("action: one in 50,000", {"action": "organization.member.role_changed"}, "action_id_idx"),
        ("action: five beginnings", {"action": "organization, access, audit, staff, billing"}, "action_id_idx"),
        ("refused alone", {"is_failure": True}, "action_id_idx"),
        ("our staff alone", {"is_staff": True}, "organization_id_id_idx"),
        ("a day, three weeks ago", {"days": 21}, "pkey"),
        ("ip: one in 250", {"ip": "198.51.100.8"}, ""),
        ("ip: one in 1,000", {"ip": "203.0.113.7"}, ""),
        ("text: in every third", {"text": "memory.read"}, ""),
        ("text: one in a million", {"text": "needle"}, ""),
    ]
    return [_row(selectors, first, *case) for case in cases]


def _md5(server: "psycopg.Connection[Any]", text: str) -> str:
    [(digest,)] = server.execute("SELECT md5(%s)", [text]).fetchall()
    return str(digest)


def _row(selectors: Any, first: uuid.UUID, what: str, filters: dict[str, Any], index: str) -> report.Row:
    scope = importlib.import_module("tenancy.scope").scope
    timezone = importlib.import_module("django.utils.timezone")
    times: list[float] = []
    note = ""
    if days := filters.pop("days", 0):
        end = timezone.now() - timezone.timedelta(days=days)
        filters |= {"since": end - timezone.timedelta(days=1), "until": end}
    with scope(first):
        if index:
            _check_plan(selectors, filters, index)
        while len(times) < TIMES and sum(times) < 10_000:
            start = time.perf_counter()
            found = selectors.search(**filters)
            times.append((time.perf_counter() - start) * 1000)
        if found.looked_back_to:
            note = f"{len(found.events)} found, back to {(timezone.now() - found.looked_back_to).days} days ago"
    p50, p99 = statistics.median(times), sorted(times)[int(len(times) * 0.99) - (len(times) > 1)]
    promised = f"p99 < {ALLOWED:g} ms" if index else ""
    said = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    return report.Row(what, said, note, report.ratio(ALLOWED / p99), promised, p99 < ALLOWED if index else None)


def _check_plan(selectors: Any, filters: dict[str, Any], index: str) -> None:
    """Raise unless PostgreSQL goes along the index, as the application's role, behind row-level security."""
    wanted = {name: value for name, value in filters.items() if name not in ("since", "until")}
    asked = selectors.question(wanted)
    params = {"first": selectors.LOWEST, "before": selectors.HIGHEST, "count": 51, "last": 50}
    lines = [row[0] for row in selectors._ask("EXPLAIN " + selectors._LOOK, asked, selectors._COLUMNS, params)]
    scans = [line for line in lines if "Index Scan" in line or "Bitmap" in line]  # a month without events has none
    if not scans or any(index not in line for line in scans):
        raise AssertionError(f"{filters} is not led by {index}:\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
