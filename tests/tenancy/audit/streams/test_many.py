"""Hundreds of organizations with a dead target among them, and a worker that is killed in the middle."""

import time
from threading import Event
from typing import Any
from uuid import uuid4

import pytest

from tenancy.audit.streams import engine, parcels
from tenancy.audit.streams.models import Stream
from tenancy.scope import scope
from tests.factories import Tenant, make_tenant
from tests.forks import Fork
from tests.raw import connect
from tests.targets import Received, Target, says
from tests.tenancy.audit.streams.conftest import AddStream
from tests.tenancy.audit.streams.streamed import happen, places, size_of, stream_of

ORGANIZATIONS = 300
# A copy of what one tenant has: hundreds made by the services would take minutes
COPIES = """
    WITH o AS (
        INSERT INTO tenancy_organization SELECT (jsonb_populate_record(t, jsonb_build_object(
            'id', n, 'slug', 'copy-' || n, 'name', 'Copy'))).*
        FROM tenancy_organization t, unnest(%(ids)s::uuid[]) n WHERE t.id = %(of)s RETURNING id
    ), s AS (
        INSERT INTO audit_streams_stream SELECT (jsonb_populate_record(t, jsonb_build_object(
            'id', gen_random_uuid(), 'organization_id', o.id))).*
        FROM audit_streams_stream t, o WHERE t.organization_id = %(of)s RETURNING id
    )
    INSERT INTO audit_auditevent (organization_id, id, action, actor_id, target_id, body)
    SELECT o.id, e.id, 'organization.project.updated', '', '', replace(t.body, t.id::text, e.id::text)
    FROM o, LATERAL (SELECT uuidv7() AS id WHERE o.id IS NOT NULL) e,
        (SELECT * FROM audit_auditevent WHERE organization_id = %(of)s LIMIT 1) t
"""


@pytest.mark.django_db(transaction=True)
def test_one_dead_target_among_hundreds_of_organizations_delays_nobody(
    target: Target, add: AddStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcels, "TIMEOUT", 25.0)
    tenant, lame = make_tenant(), make_tenant()
    with connect("superuser") as server:
        server.execute("UPDATE audit_streams_stream SET state = 'paused'")
    model = add(tenant, options={"url": target.url})
    ids = [uuid4() for _ in range(ORGANIZATIONS)]
    with connect("superuser") as server:
        server.execute(COPIES, {"ids": ids, "of": tenant.organization.pk})
    with Target() as dead:
        released = Event()

        def hold(wire: Any, request: Received) -> None:
            released.wait(24)
            says(500)(wire, request)

        dead.behaviour = hold
        add(lame, options={"url": dead.url})
        happen(lame, 1)
        answer = says(200)
        early: list[bool] = []

        def behave(wire: Any, request: Received) -> None:
            early.append(not released.is_set())
            if len(early) >= ORGANIZATIONS - 50:
                released.set()
            answer(wire, request)

        target.behaviour = behave
        engine.deliver(budget=120)
    arrived = {batch.headers["webhook-id"] for batch in target.received}
    assert len(arrived) >= ORGANIZATIONS
    assert len(dead.received) == 1
    assert sum(early) >= ORGANIZATIONS - 51, "they arrived while the dead one was waited for"
    assert stream_of(tenant, model).next_seq == size_of(tenant)
    with connect("superuser") as server:
        [(behind,)] = server.execute(
            "SELECT count(*) FROM audit_streams_stream WHERE organization_id = ANY(%s) AND next_seq = 0", [ids]
        ).fetchall()
        server.execute("UPDATE audit_streams_stream SET state = 'paused'")
    assert behind == 0


WORKER = """
from tenancy.audit.streams import batches, engine
batches.MOST_EVENTS = 10
engine.LEASE = engine.timedelta(seconds=1)
while True:
    engine.deliver()
"""


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_in_the_middle_loses_nothing_and_keeps_the_order(
    target: Target, add: AddStream
) -> None:
    """SIGKILL while a batch is under way, five times: every event arrives, and only what was under way twice."""
    tenant = make_tenant()
    with connect("superuser") as server:
        server.execute("UPDATE audit_streams_stream SET state = 'paused'")
    new = add(tenant, options={"url": target.url})
    size = happen(tenant, 200)
    answer = says(200)

    def slow(wire: Any, request: Received) -> None:
        target.over.wait(0.05)
        answer(wire, request)

    target.behaviour = slow
    for kill in range(6):
        before = len(target.received)
        with Fork(WORKER) as worker:
            if kill < 5:
                target.wait_for(before + 3, 60)
            else:
                deadline = time.monotonic() + 120  # two cores are shared by everything
                while (place := stream_of(tenant, new).next_seq) < size:
                    assert time.monotonic() < deadline, place
                    target.over.wait(0.1)
            worker.kill()
    came = places(target)
    assert set(came) == set(range(size))
    first_time = list(dict.fromkeys(came))
    assert first_time == list(range(size)), "in order"
    assert len(came) <= size + 5 * 10 * 2
    with scope(tenant.organization):
        assert Stream.objects.get().sent == size


def test_two_workers_never_have_one_stream_at_once(tenant: Tenant, target: Target, add: AddStream) -> None:
    new = add(tenant, options={"url": target.url})
    happen(tenant, 1)
    assert new.stream.pk in {one.stream_id for one in engine._claim(64)}
    assert new.stream.pk not in {one.stream_id for one in engine._claim(64)}
