"""Many workers on one session, each with a connection of its own: nothing lost, no gap, one capsule."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import Barrier
from typing import TypeVar
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from capsule_cloud.memory.models import Capsule, Session, Turn
from capsule_cloud.memory.services import retention, sessions, triggers
from capsule_cloud.memory.services.sessions import SessionSealed
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.capsule_cloud.memory.conversations import ingest, pair, seal
from tests.factories import Tenant, make_tenant

WORKERS = 6
Result = TypeVar("Result")


@pytest.fixture
def committed(transactional_db: None) -> Tenant:
    """An organization that other connections can see."""
    return make_tenant()


def together(work: Callable[[int], Result], workers: int = WORKERS) -> list[Result]:
    """What `work(0)`, `work(1)` … return when they begin at the same moment, each on a connection of its own."""
    barrier = Barrier(workers)

    def run(worker: int) -> Result:
        try:
            barrier.wait(30)
            return work(worker)
        finally:
            connection.close()

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(run, range(workers)))


def said(tenant: Tenant, session_id: str) -> list[tuple[int, str, str]]:
    with scope(tenant.organization):
        turns = Turn.objects.filter(session__external_id=session_id).order_by("number")
        return [(turn.number, turn.role, turn.content) for turn in turns]


def test_workers_on_one_session_lose_nothing_and_leave_no_gap(committed: Tenant) -> None:
    each = 12

    def talk(worker: int) -> list[int]:
        return [ingest(committed, "s", pair(f"{worker}/{n}", f"answer {worker}/{n}")).turn_id for n in range(each)]

    numbers = together(talk)

    turns = said(committed, "s")
    assert [number for number, _, _ in turns] == list(range(1, 2 * WORKERS * each + 1))
    for worker, own in enumerate(numbers):
        assert own == sorted(own)
        for n, number in enumerate(own):
            assert turns[number - 1] == (number, "user", f"{worker}/{n}")
            assert turns[number] == (number + 1, "assistant", f"answer {worker}/{n}")
    with scope(committed.organization):
        assert Session.objects.get().turn_count == len(turns)
        assert AuditEvent.objects.filter(action="memory.session.ingested").count() == WORKERS * each


def test_batches_are_not_mixed(committed: Tenant) -> None:
    together(lambda worker: ingest(committed, "s", *[pair(f"{worker}/{n}") for n in range(5)]))

    questions = [content for _, role, content in said(committed, "s") if role == "user"]
    batches = {tuple(questions[n : n + 5]) for n in range(0, len(questions), 5)}
    assert batches == {tuple(f"{worker}/{n}" for n in range(5)) for worker in range(WORKERS)}


def test_one_of_several_users_gets_a_new_session_id(committed: Tenant) -> None:
    def claim(worker: int) -> bool:
        try:
            return ingest(committed, "s", pair(f"of {worker}"), user_id=f"user-{worker}").turn_id == 1
        except sessions.SessionBelongsToAnother:
            return False

    outcome = together(claim)

    assert outcome.count(True) == 1
    with scope(committed.organization):
        assert Session.objects.get().user_id == f"user-{outcome.index(True)}"
    assert len(said(committed, "s")) == 2


def test_the_last_room_in_a_session_is_taken_once(committed: Tenant) -> None:
    ingest(committed, "s", *[pair()] * 249)

    def take(worker: int) -> bool:
        try:
            ingest(committed, "s", pair(f"of {worker}"))
        except sessions.SessionFull:
            return False
        return True

    assert together(take).count(True) == 1
    assert len(said(committed, "s")) == 500


def test_seals_at_once_make_one_capsule(committed: Tenant) -> None:
    ingest(committed, "s")

    sealed = together(lambda worker: seal(committed, "s", title=f"By {worker}"))

    assert len({result.capsule_id for result in sealed}) == 1
    assert len({result.title for result in sealed}) == 1
    with scope(committed.organization):
        assert Capsule.objects.count() == 1
        assert AuditEvent.objects.filter(action="memory.session.sealed").count() == 1


def test_every_acknowledged_turn_is_in_the_capsule(committed: Tenant) -> None:
    ingest(committed, "s")

    def work(worker: int) -> int:
        if worker == 0:
            seal(committed, "s")
            return 0
        for count in range(100):
            try:
                ingest(committed, "s", pair(f"{worker}/{count}"))
            except SessionSealed:
                return count
        raise AssertionError("the seal never came")

    acknowledged = 1 + sum(together(work))

    with scope(committed.organization):
        assert Capsule.objects.get().turn_count == 2 * acknowledged
    assert len(said(committed, "s")) == 2 * acknowledged


def test_a_trigger_decided_by_two_is_counted_once(committed: Tenant) -> None:
    ingest(committed, "s", pair("perfect, remember this", "Sort first."), pair("perfect, again", "Then search."))
    with scope(committed.organization):
        session = Session.objects.get()
        event_ids = [trigger.event_id for trigger in session.triggers.order_by("id")]

    def decide(worker: int) -> None:
        with scope(committed.organization):
            triggers.resolve(
                project_id=committed.project.pk,
                session_id="s",
                event_id=event_ids[0],
                resolution=["ignore", "never", "extract_skill"][worker % 3],
                actor=committed.actor,
            )

    together(decide)

    assert ingest(committed, "s").pending_triggers == 1


def test_two_sweeps_seal_each_idle_session_once(committed: Tenant) -> None:
    moment = timezone.now() - timedelta(hours=1)
    for n in range(20):
        ingest(committed, f"s{n}")
    with scope(committed.organization):
        Session.objects.update(last_turn_at=moment, look_at=moment)

    sealed: list[str] = []

    def close(organization_id: UUID, session_pk: UUID) -> None:
        with scope(organization_id):
            retention.close_if_idle(
                session_pk=session_pk, actor=committed.actor, also=lambda session: sealed.append(session.external_id)
            )

    def sweep(worker: int) -> None:
        while retention.close_due_sessions(limit=3, close=close):
            pass

    together(sweep, workers=3)

    assert sorted(sealed) == sorted(f"s{n}" for n in range(20))
    with scope(committed.organization):
        assert Capsule.objects.count() == 20
        assert Session.objects.filter(sealed_at=None).count() == 0
        assert AuditEvent.objects.filter(action="memory.session.sealed").count() == 20


@contextmanager
def another_connection() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(lambda: connection.close()).result()  # noqa: PLW0108  # this thread's own


def test_a_session_walks_from_worker_to_worker(committed: Tenant) -> None:
    with another_connection() as first, another_connection() as second, another_connection() as third:
        first.submit(ingest, committed, "s", pair("I keep bees", "How many hives?"), user_id="ada").result()
        second.submit(ingest, committed, "s", pair("Three", "Lovely.")).result()
        sealed = third.submit(seal, committed, "s").result()

    assert sealed.turn_count == 4
