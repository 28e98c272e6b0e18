"""Turns of several callers share a statement, and each caller is answered as if it were alone."""

import time
from collections.abc import Callable
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection

from billing.metering.meters import Meter
from billing.metering.models import UsageEvent
from billing.metering.services import Use, usage_call
from capsule_cloud.memory.models import Session, Turn
from capsule_cloud.memory.selectors.sessions import SessionNotFound
from capsule_cloud.memory.services import sessions
from capsule_cloud.memory.services.sessions import IngestResult
from tenancy import shared_trips
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import Actor
from tenancy.scope import OfFirst, SqlCall, one_trip, scope
from tests.capsule_cloud.memory.conversations import ingest, pair, seal
from tests.factories import Tenant, make_tenant
from tests.threads import at_once


@pytest.fixture
def committed(transactional_db: None) -> Tenant:
    """An organization that other connections can see."""
    return make_tenant()


@pytest.fixture
def parties(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many callers travelled together, trip by trip."""
    sizes: list[int] = []
    travel = shared_trips._travel

    def note(organization_id: Any, party: list[Any]) -> None:
        sizes.append(len(party))
        travel(organization_id, party)

    monkeypatch.setattr(shared_trips, "_travel", note)
    return sizes


def wait_for(callers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first leader leaves when so many callers wait, itself among them; later ones at once."""
    leaders: list[int] = []

    def gather(queue: list[Any]) -> None:
        leaders.append(1)
        while len(leaders) == 1 and len(queue) < callers:
            time.sleep(0)

    monkeypatch.setattr(shared_trips, "_let_arrive", gather)


def speaker(tenant: Tenant, session_id: str, **changes: Any) -> Callable[[], IngestResult]:
    """One caller with one turn."""
    return lambda: ingest(tenant, session_id, pair(f"of {session_id}"), **changes)


def count(tenant: Tenant) -> tuple[int, int]:
    """Turns, and audit events of ingests."""
    with scope(tenant.organization):
        events = AuditEvent.objects.filter(action="memory.session.ingested")
        return Turn.objects.count(), events.count()


def test_callers_that_wait_share_a_statement_and_each_is_answered_for_itself(
    committed: Tenant, parties: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(committed, "s2", pair("earlier"), user_id="ada")
    parties.clear()
    wait_for(6, monkeypatch)
    results = at_once(*(speaker(committed, f"s{n}", user_id="ada" if n == 2 else None) for n in range(6)))
    assert parties == [6]
    assert [(one.session_id, one.turn_id, one.total_turns) for one in results] == [
        (f"s{n}", 3 if n == 2 else 1, 4 if n == 2 else 2) for n in range(6)
    ]
    assert count(committed) == (14, 7)
    with scope(committed.organization):
        owners = dict(Session.objects.values_list("external_id", "user_id"))
        turns = Turn.objects.filter(role="user").values_list("session__external_id", "content")
        assert owners == {f"s{n}": "ada" if n == 2 else "default" for n in range(6)}
        assert sorted(turns) == sorted([("s2", "earlier"), *((f"s{n}", f"of s{n}") for n in range(6))])


def test_more_callers_than_one_statement_takes_travel_one_party_after_the_other(
    committed: Tenant, parties: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(12, monkeypatch)
    results = at_once(*(speaker(committed, f"s{n}") for n in range(12)))
    assert parties == [shared_trips.MOST, 12 - shared_trips.MOST]
    assert {one.session_id for one in results} == {f"s{n}" for n in range(12)}
    assert count(committed) == (24, 12)


def test_two_turns_of_a_session_never_share_a_statement(
    committed: Tenant, parties: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(4, monkeypatch)
    results = at_once(
        *(speaker(committed, "a"), speaker(committed, "a"), speaker(committed, "a"), speaker(committed, "b"))
    )
    assert sorted(parties) == [1, 1, 2]
    assert sorted(one.turn_id for one in results if one.session_id == "a") == [1, 3, 5]


def test_each_caller_is_audited_and_metered_as_itself(committed: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for(3, monkeypatch)
    ids = (committed.organization.pk, committed.project.pk, committed.key.pk)
    uses = [Use(*ids, Meter.INGEST, n + 1) for n in range(3)]

    def say(n: int) -> Callable[[], IngestResult]:
        return lambda: sessions.ingest(
            organization_id=committed.organization.pk,
            project_id=committed.project.pk,
            session_id=f"s{n}",
            turns=[pair()],
            user_id=f"user-{n}",
            actor=Actor("api_key", str(n), f"Key {n}"),
            also=(usage_call(uses[n], end_user=OfFirst("user_id")),),
        )

    at_once(*map(say, range(3)))
    with scope(committed.organization):
        counted = {use.pk: (use.quantity, use.end_user) for use in UsageEvent.objects.all()}
        actors = {one.target["id"]: one.actor["label"] for one in AuditEvent.objects.filter(actor__kind="api_key")}
    assert counted == {use.event_id: (n + 1, f"user-{n}") for n, use in enumerate(uses)}
    assert actors == {f"s{n}": f"Key {n}" for n in range(3)}


REFUSALS: dict[str, tuple[Callable[[Tenant], Callable[[], Any]], type[Exception]]] = {
    "sealed": (lambda tenant: speaker(tenant, "sealed"), sessions.SessionSealed),
    "another's": (lambda tenant: speaker(tenant, "ada's", user_id="eve"), sessions.SessionBelongsToAnother),
    "full": (lambda tenant: speaker(tenant, "full"), sessions.SessionFull),
    "no project": (
        lambda tenant: (
            lambda: sessions.ingest(
                organization_id=tenant.organization.pk,
                project_id=uuid4(),
                session_id="nowhere",
                turns=[pair()],
                actor=tenant.actor,
            )
        ),
        SessionNotFound,
    ),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_a_refusal_reaches_its_own_caller_alone(
    why: str, committed: Tenant, parties: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(committed, "sealed")
    seal(committed, "sealed")
    ingest(committed, "ada's", user_id="ada")
    ingest(committed, "full", *[pair()] * 250)
    before = count(committed)
    parties.clear()
    wait_for(4, monkeypatch)
    refused, error = REFUSALS[why]
    results = at_once(*(speaker(committed, f"s{n}") for n in range(3)), refused(committed))
    assert parties == [4]
    assert [one.turn_id for one in results[:3]] == [1, 1, 1]
    assert isinstance(results[3], error)
    assert count(committed) == (before[0] + 6, before[1] + 3)


def test_another_organizations_project_is_nobodys_and_takes_nothing(
    committed: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_tenant()
    ingest(other, "theirs")
    wait_for(2, monkeypatch)

    def trespass() -> IngestResult:
        return sessions.ingest(
            organization_id=committed.organization.pk,
            project_id=other.project.pk,
            session_id="theirs",
            turns=[pair()],
            actor=committed.actor,
        )

    results = at_once(speaker(committed, "mine"), trespass)
    assert results[0].turn_id == 1
    assert isinstance(results[1], SessionNotFound)
    assert count(other) == (2, 1)


def test_a_session_that_is_locked_holds_up_no_other(committed: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(committed, "locked")
    wait_for(2, monkeypatch)
    is_locked, is_free = Event(), Event()

    def lock() -> bool:
        with scope(committed.organization):
            sessions.locked_session(project_id=committed.project.pk, session_id="locked")
            is_locked.set()
            return is_free.wait(30)

    def say(session_id: str) -> IngestResult:
        is_locked.wait(30)
        result = speaker(committed, session_id)()
        is_free.set()
        return result

    was_free, free, locked = at_once(lock, lambda: say("free"), lambda: say("locked"))
    assert was_free, "the other session's turn waited for this one"
    assert (free.turn_id, locked.turn_id) == (1, 3)


def test_a_broken_connection_is_told_to_everybody_and_repeated_by_nobody(
    committed: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(3, monkeypatch)
    asked: list[object] = []

    def break_down(organization_id: Any, *calls: SqlCall) -> list[tuple[Any, ...]]:
        rows = one_trip(organization_id, *calls)
        asked.append(calls)
        raise OperationalError(f"the connection was lost after {rows}")

    monkeypatch.setattr(shared_trips, "one_trip", break_down)
    results = at_once(*(speaker(committed, f"s{n}") for n in range(3)))
    assert all(isinstance(one, OperationalError) for one in results)
    assert len(asked) == 1
    assert count(committed) == (6, 3), "it had happened: a second time would have doubled it"


def test_in_a_transaction_a_turn_travels_alone(tenant: Tenant, parties: list[int]) -> None:
    assert connection.in_atomic_block
    assert ingest(tenant, "s").turn_id == 1
    assert parties == []
