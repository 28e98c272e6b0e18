"""Servers die under load, again and again: what was acknowledged is stored once and counted once, nothing is lost."""

import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from django.db.models import Count, Sum
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from billing.metering import services as metering
from billing.metering.models import UsageEvent, UsageHour
from billing.metering.selectors import usage
from capsule_cloud.memory.models import Session, Turn
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.factories import Tenant, make_tenant
from tests.live import LiveServer
from tests.sums import catch_up

CLIENTS, EACH, SESSIONS = 6, 21, 3
KEYED, PLAIN, RECALL = "ingest with a key", "ingest", "recall"
KINDS = (KEYED, RECALL, PLAIN)
MOST_ATTEMPTS = 500


@dataclass(slots=True)
class Deed:
    """One thing that a client wants done, and what it knows of it."""

    kind: str
    name: str
    attempts: int = 0
    is_acknowledged: bool = False

    def send(self, http: httpx.Client, session: str) -> httpx.Response:
        """Ask for it once."""
        self.attempts += 1
        if self.kind == RECALL:
            return http.get("/api/v1/recall", params={"query": "tea", "user_id": self.name})
        turn = {"user_message": self.name, "assistant_response": "Noted"}
        headers = {"Idempotency-Key": self.name} if self.kind == KEYED else {}
        return http.post(f"/api/v1/sessions/{session}/ingest", json=turn, headers=headers)


class Load:
    """Clients that go on, through every death of their server, until all is acknowledged that can be asked again."""

    def __init__(self, server: LiveServer, tenant: Tenant) -> None:
        self.server, self.tenant = server, tenant
        self.deeds: list[Deed] = []
        self.acknowledged, self.generation = 0, 0
        self.changed = threading.Condition()

    def run(self, number: int) -> None:
        """Be one client."""
        options = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=self.server.url, headers=self.tenant.headers, timeout=60, limits=options) as http:
            for n in range(EACH):
                deed = Deed(KINDS[n % len(KINDS)], f"{KINDS[n % len(KINDS)]} {number}/{n}".replace(" ", "-"))
                self.deeds.append(deed)
                self._do(http, deed, f"session-{n // len(KINDS) % SESSIONS}")

    def _do(self, http: httpx.Client, deed: Deed, session: str) -> None:
        while deed.attempts < MOST_ATTEMPTS:
            generation = self.generation
            try:
                answer = deed.send(http, session)
            except httpx.TransportError:
                self._wait(lambda before=generation: self.generation > before)  # type: ignore[misc]
                if deed.kind == PLAIN:
                    return  # nobody knows whether it happened, and asking again might do it twice
                continue
            if answer.status_code == 409 and "still at work" in answer.text:
                continue  # the dead server's transaction has not ended yet
            assert answer.status_code == 200, answer.text
            deed.is_acknowledged = True
            with self.changed:
                self.acknowledged += 1
                self.changed.notify_all()
            return
        raise AssertionError(f"{deed} was never acknowledged.")

    def kill_at(self, acknowledged: int, victim: Callable[[int], None]) -> None:
        """Kill when so much is acknowledged, and start the server again."""
        self._wait(lambda: self.acknowledged >= acknowledged)
        victim(self.server.process.pid)
        _kill_all(self.server.process.pid)
        self.server.process.wait()
        _until_nobody_listens(self.server.port)
        self.server.__enter__()
        with self.changed:
            self.generation += 1
            self.changed.notify_all()

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, timeout=60)


def _kill_all(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)


def _until_nobody_listens(port: int) -> None:
    """A dying worker's socket takes connections to the last, and would greet who waits for the new server."""
    with suppress(ConnectionRefusedError):
        while True:
            with suppress(ConnectionResetError):
                socket.create_connection(("127.0.0.1", port), timeout=10).close()


def _kill_a_worker(pid: int) -> None:
    *_, worker = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)


@pytest.fixture(scope="module")
def aftermath(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Load:
    """What clients know after their server was killed three times under them; its usage is shipped and rolled up."""
    with django_db_blocker.unblock(), LiveServer(workers=2) as server:
        load = Load(server, make_tenant())
        total = CLIENTS * EACH
        with ThreadPoolExecutor(CLIENTS) as clients:
            running = [clients.submit(load.run, number) for number in range(CLIENTS)]
            for share, victim in ((0.2, _kill_a_worker), (0.45, _kill_all), (0.7, _kill_all)):
                load.kill_at(int(total * share), victim)
            for client in running:
                client.result()
    with django_db_blocker.unblock():
        metering.ship()
        catch_up()
    return load


@pytest.fixture
def stored(aftermath: Load, transactional_db: None) -> Counter[str]:
    """How often each deed's turn is stored."""
    with scope(aftermath.tenant.organization):
        return Counter(Turn.objects.filter(role=Turn.Role.USER).values_list("content", flat=True))


def test_every_turn_that_may_be_asked_for_again_is_stored_once(aftermath: Load, stored: Counter[str]) -> None:
    keyed = [deed for deed in aftermath.deeds if deed.kind == KEYED]
    assert len(keyed) == CLIENTS * EACH / len(KINDS)
    assert {stored[deed.name] for deed in keyed} == {1}
    hit = [deed for deed in aftermath.deeds if deed.attempts > 1 or not deed.is_acknowledged]
    assert hit, "No request was hit by a kill: the test proves nothing."


def test_every_acknowledged_turn_is_stored_once_and_no_other_twice(aftermath: Load, stored: Counter[str]) -> None:
    plain = [deed for deed in aftermath.deeds if deed.kind == PLAIN]
    assert {stored[deed.name] for deed in plain if deed.is_acknowledged} == {1}
    assert {stored[deed.name] for deed in plain if not deed.is_acknowledged} <= {0, 1}
    assert set(stored) <= {deed.name for deed in aftermath.deeds}


def test_what_is_stored_is_counted_and_audited_as_often(aftermath: Load, stored: Counter[str]) -> None:
    with scope(aftermath.tenant.organization):
        counted = list(UsageEvent.objects.filter(meter="ingest").values_list("quantity", flat=True))
        audited = AuditEvent.objects.filter(action="memory.session.ingested").count()
        opened = Session.objects.count()
    assert counted == [1] * stored.total()
    assert (audited, opened) == (stored.total(), SESSIONS)


def test_the_turns_of_a_session_are_numbered_without_a_gap(aftermath: Load, transactional_db: None) -> None:
    with scope(aftermath.tenant.organization):
        for session in Session.objects.all():
            numbers = list(Turn.objects.filter(session=session).order_by("number").values_list("number", flat=True))
            assert numbers == list(range(1, session.turn_count + 1))


def test_every_acknowledged_recall_is_counted_once(aftermath: Load, transactional_db: None) -> None:
    with scope(aftermath.tenant.organization):
        counted = Counter(UsageEvent.objects.filter(meter="recall").values_list("end_user", flat=True))
    recalls = [deed for deed in aftermath.deeds if deed.kind == RECALL]
    assert {counted[deed.name] for deed in recalls if deed.attempts == 1} == {1}
    # an attempt whose answer was lost may have been served, and counts then; it never counts twice
    assert all(1 <= counted[deed.name] <= deed.attempts for deed in recalls)
    assert set(counted) == {deed.name for deed in recalls}


def test_the_hours_hold_exactly_the_events(aftermath: Load, transactional_db: None) -> None:
    with scope(aftermath.tenant.organization):
        events = {
            meter: (total, number)
            for meter, total, number in UsageEvent.objects.values_list("meter").annotate(Sum("quantity"), Count("id"))
        }
        hours = {
            meter: (total, number)
            for meter, total, number in UsageHour.objects.values_list("meter").annotate(Sum("quantity"), Sum("events"))
        }
        shown = usage(since=timezone.now() - timedelta(hours=2), until=timezone.now())
        stored = Turn.objects.filter(role=Turn.Role.USER).count()
    assert hours == events
    assert {meter: sum(p.quantity for p in shown.points if p.group["meter"] == meter) for meter in events} == {
        meter: total for meter, (total, _) in events.items()
    }
    again = sum(deed.attempts - 1 for deed in aftermath.deeds)
    lost = sum(not deed.is_acknowledged for deed in aftermath.deeds)
    print(
        f"\n{len(aftermath.deeds)} deeds by {CLIENTS} clients through 3 kills: {aftermath.acknowledged} acknowledged, "
        f"{lost} left unknown, {again} asked again; {stored} turns stored, events and hours {events}"
    )
