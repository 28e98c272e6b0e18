"""How fast the trail takes events with all that it does, beside a plain INSERT of the same row; one a transaction."""

import multiprocessing
import statistics
import time
import timeit
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
from django.db import connections

from capsule_cloud.lib import embedded
from tenancy.audit import actions
from tenancy.audit.services import Actor, Context, Target, context, record_call
from tenancy.scope import SqlCall, one_trip, preparing_cursor
from tests.bench import report
from tests.bench.world import World

ORGANIZATIONS = (1, 10, 1_000)
WRITERS = 4
SHARE, EVENNESS = 0.7, 0.7
ROUNDS, SECONDS = 60, 0.5  # of a round's windows: ours and the plain INSERT's, in turn, for each number
LOOP = 20_000
ORIGIN = Context("0198c5d2f0e47b0c9d6a1b2c3d4e5f60", "203.0.113.7", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0")
PERSON = Actor("user", "0198c5d2-f0e4-7b0c-9d6a-1b2c3d4e5f60", "ada@example.com")
KEY = Actor("api_key", "0198c5d2-f0e4-7b0c-9d6a-1b2c3d4e5f61", "Server (cmk_4cDBAw…)")
MEMBER = Target("user", "0198c5d2-f0e4-7b0c-9d6a-1b2c3d4e5f62", "bob@example.com")
SESSION = Target("session", "support-4711", "support-4711")
PLAIN = """
    CREATE TABLE audit_bench_plain (
        organization_id uuid NOT NULL, id uuid NOT NULL, xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        action text NOT NULL, actor_id text NOT NULL, target_id text NOT NULL, body text NOT NULL,
        PRIMARY KEY (organization_id, id)
    );
    CREATE INDEX ON audit_bench_plain (xid, id);
    GRANT INSERT ON audit_bench_plain TO capsule_app;
"""
INSERT = (
    "INSERT INTO audit_bench_plain (organization_id, id, action, actor_id, target_id, body) "
    "VALUES (%s, uuidv7(), %s, %s, %s, %s)"
)
# The same rows within one transaction: what PostgreSQL itself does, without a client and a commit for each
IN_POSTGRESQL = {
    "ours": "PERFORM audit_append('{organization}', '{action}', '{actor}', '{target}', $json${body}$json$)",
    "plain": "INSERT INTO audit_bench_plain (organization_id, id, action, actor_id, target_id, body) "
    "VALUES ('{organization}', uuidv7(), '{action}', '{actor}', '{target}', $json${body}$json$)",
}


def measure(world: World) -> str:
    """A table: events a second by how many organizations write, what one costs PostgreSQL, and what it costs Python."""
    rounds, seconds = (20, 0.25) if world.is_quick else (ROUNDS, SECONDS)
    with psycopg.connect(embedded.urls().superuser, autocommit=True) as server:
        server.execute(PLAIN)
        try:
            rates = _rates(rounds, seconds)
            rows = [_rate_row(count, *rates[count]) for count in ORGANIZATIONS]
            rows += [_evenness(rates[1][0], rates[1_000][0]), _in_postgresql(LOOP // 10 if world.is_quick else LOOP)]
        finally:
            server.execute("DROP TABLE audit_bench_plain")
    rows += [_python("in Python, by an API key", KEY, SESSION), _python("in Python, by a person", PERSON, MEMBER)]
    return report.table(("audit_append, all on", "plain INSERT"), rows)


def _call(organization_id: uuid.UUID) -> SqlCall:
    return record_call(
        action=actions.MEMBER_ROLE_CHANGED,
        actor=PERSON,
        target=MEMBER,
        metadata={"keys_revoked": 2},
        changes={"role": ["viewer", "admin"]},
        organization_id=organization_id,
    )


Rates = tuple[list[float], list[float]]  # events a second of all writers, by round: ours and the plain INSERT's


def _rates(rounds: int, seconds: float) -> dict[int, Rates]:
    """For each number of organizations the rates; a round goes through all, so that they share the machine's moods."""
    organizations = {count: [uuid.uuid4() for _ in range(count)] for count in ORGANIZATIONS}
    fork = multiprocessing.get_context("fork")
    ready, results = fork.Barrier(WRITERS), fork.SimpleQueue()
    connections.close_all()  # a child must not end its parent's connection
    writers = [
        fork.Process(target=_write, args=(number, organizations, rounds, seconds, ready, results))
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    done = [results.get() for _ in writers]
    for writer in writers:
        writer.join()
    rates = [sum(counts) / seconds for counts in zip(*done, strict=True)]
    step = 2 * len(ORGANIZATIONS)
    return {
        count: (rates[2 * place :: step], rates[2 * place + 1 :: step]) for place, count in enumerate(ORGANIZATIONS)
    }


def _write(
    number: int,
    organizations: Mapping[int, Sequence[uuid.UUID]],
    rounds: int,
    seconds: float,
    ready: Any,
    results: Any,
) -> None:
    with context(ORIGIN):
        calls = {one: _call(one) for many in organizations.values() for one in many}  # it knows everybody from here on
        place, counts = number, []
        windows = [(way, many) for many in organizations.values() for way in (_ours, _plain(calls))]
        for way, many in windows:
            for one in many[:50]:
                way(one)
        ready.wait()
        end = time.monotonic()  # the same clock in every process
        for way, many in windows * rounds:
            end, count = end + seconds, 0
            while time.monotonic() < end:
                place += 1
                way(many[place % len(many)])
                count += 1
            counts.append(count)
    results.put(counts)


def _ours(organization_id: uuid.UUID) -> None:
    one_trip(organization_id, _call(organization_id))


def _plain(calls: dict[uuid.UUID, SqlCall]) -> Callable[[uuid.UUID], None]:
    def insert(organization_id: uuid.UUID) -> None:
        with preparing_cursor() as cursor:
            cursor.execute(INSERT, [organization_id, *calls[organization_id].params])

    return insert


def _rate_row(count: int, ours: Sequence[float], plain: Sequence[float]) -> report.Row:
    times = statistics.median(one / other for one, other in zip(ours, plain, strict=True))
    return report.Row(
        f"{count:,} organization{'s' if count > 1 else ''}, {WRITERS} writers",
        f"{statistics.median(ours):,.0f}/s (best {max(ours):,.0f})",
        f"{statistics.median(plain):,.0f}/s (best {max(plain):,.0f})",
        report.ratio(times),
        f"≥ {SHARE:g} x",
        times >= SHARE,
    )


def _evenness(one: Sequence[float], many: Sequence[float]) -> report.Row:
    times = statistics.median(few / more for few, more in zip(one, many, strict=True))
    return report.Row(
        "one organization beside 1,000", "", "", report.ratio(times), f"≥ {EVENNESS:g} x", times >= EVENNESS
    )


def _in_postgresql(times: int) -> report.Row:
    """Microseconds for each in a loop of PostgreSQL's own, both ways in turn; the best of three."""
    organization_id = uuid.uuid4()
    with context(ORIGIN):
        action, actor, target, body = _call(organization_id).params
    # it begins with the id, the organization and the time, as what is stored
    whole = f'{{"id":"{uuid.uuid4()}","organization_id":"{organization_id}","recorded_at":"{"0" * 27}",{body[1:]}'
    taken: dict[str, list[float]] = {"ours": [], "plain": []}
    with psycopg.connect(embedded.urls().superuser, autocommit=True) as server:
        for way in ("ours", "plain") * 3:
            statement = IN_POSTGRESQL[way].format(
                organization=organization_id,
                action=action,
                actor=actor,
                target=target,
                body=body if way == "ours" else whole,
            )
            loop = f"DO $do$ BEGIN FOR i IN 1..{times} LOOP {statement}; END LOOP; END $do$"
            with server.transaction():
                server.execute("SELECT tenancy_enter(%s)", [organization_id])
                start = time.perf_counter()
                server.execute(loop.encode())
                taken[way].append((time.perf_counter() - start) / times * 1_000_000)
    ours, plain = min(taken["ours"]), min(taken["plain"])
    return report.Row("in PostgreSQL alone", f"{ours:.1f} µs", f"{plain:.1f} µs", report.ratio(plain / ours))


def _python(what: str, actor: Actor, target: Target) -> report.Row:
    organization_id = uuid.uuid4()
    action = actions.MEMORY_SESSION_INGESTED if actor is KEY else actions.MEMBER_ROLE_CHANGED
    metadata = {"turns": 2} if actor is KEY else {"keys_revoked": 2}

    def call() -> None:
        record_call(action=action, actor=actor, target=target, metadata=metadata, organization_id=organization_id)

    with context(ORIGIN):
        call()  # now the process knows whom it names
        best = min(timeit.repeat(call, number=10_000, repeat=5)) / 10_000
    return report.Row(what, f"{best * 1_000_000:.1f} µs", "", "")
