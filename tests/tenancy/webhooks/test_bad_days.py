"""Customers' servers on their worst days: each costs itself alone."""

import time
from collections.abc import Callable
from contextlib import closing
from threading import Event
from typing import Any

import pytest
from django.utils import timezone

from capsule_cloud.lib import http
from tenancy.scope import scope
from tenancy.webhooks import delivery
from tenancy.webhooks.models import Delivery
from tests.factories import Tenant, make_tenant
from tests.forks import Fork
from tests.raw import connect
from tests.targets import Received, Target, says
from tests.tenancy.webhooks.conftest import AddEndpoint, attempts, deliveries, endpoint_of, happen

Bad = Callable[[Target], Callable[[Any, Received], None]]


def hang(target: Target) -> Any:
    return lambda wire, request: target.over.wait(30)


def drip(target: Target) -> Any:
    def behave(wire: Any, request: Received) -> None:
        wire.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not target.over.wait(0.02):
            wire.sendall(b"x")

    return behave


def cut(target: Target) -> Any:
    def behave(wire: Any, request: Received) -> None:
        wire.sendall(b"HTTP/1.1 200")
        wire.shutdown(2)

    return behave


@pytest.mark.parametrize(
    ("bad", "status", "code", "said"),
    [
        (lambda target: says(500, b"boom"), 500, "", "Answered 500."),
        (lambda target: says(429), 429, "", "Answered 429."),
        (lambda target: says(302, Location="http://169.254.169.254/"), 302, "", "redirects are not followed"),
        (hang, None, "timeout", "no answer within"),
        (drip, None, "timeout", "no answer within"),
        (cut, None, "protocol", "ended the connection"),
    ],
    ids=["500", "429", "redirect", "hangs", "drips", "breaks off"],
)
def test_a_bad_answer_is_written_down_and_tried_again(
    tenant: Tenant,
    target: Target,
    add: AddEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    bad: Bad,
    status: int | None,
    code: str,
    said: str,
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT", 0.5)
    add(tenant, target.url)
    target.behaviour = bad(target)
    happen(tenant)
    delivery.deliver()
    [one] = attempts(tenant)
    assert (one.status, one.code, one.has_arrived) == (status, code, False)
    assert said in one.sentence
    assert [(sent.state, sent.attempts) for sent in deliveries(tenant)] == [("pending", 1)]
    assert len(target.received) == 1


def flood(target: Target) -> Any:
    def behave(wire: Any, request: Received) -> None:
        wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _ in range(1024):
            wire.sendall(b"x" * 2**20)

    return behave


def test_a_gigabyte_of_thanks_is_a_success_and_not_read(tenant: Tenant, target: Target, add: AddEndpoint) -> None:
    add(tenant, target.url)
    target.behaviour = flood(target)
    happen(tenant)
    delivery.deliver()
    [one] = attempts(tenant)
    assert (one.has_arrived, one.response["is_whole"], len(one.response["body"])) == (True, False, 1000)


def test_a_name_that_turns_to_the_metadata_service_gets_nothing(
    tenant: Tenant, target: Target, add: AddEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = add(tenant, "https://hooks.example.com/in")
    asked = []

    def turned(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["169.254.169.254"]

    happen(tenant)
    with closing(http.Door(turned)) as door:
        monkeypatch.setattr(delivery, "door", lambda: door)
        delivery.deliver()
        monkeypatch.undo()
    [one] = attempts(tenant)
    assert asked == ["hooks.example.com"]
    assert (one.code, one.status) == ("blocked", None)
    assert "169" not in one.sentence
    assert endpoint_of(tenant, new).failures == 1


def test_one_dead_server_among_hundreds_of_endpoints_delays_nobody(
    tenant: Tenant, stranger: Tenant, target: Target, add: AddEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight organizations with fifty endpoints each; one endpoint hangs, with twenty events waiting for it."""
    monkeypatch.setattr(delivery, "TIMEOUT", 30.0)
    with connect("superuser") as server:  # other tests' endpoints lead to names that take seconds to be looked up
        server.execute("UPDATE webhooks_delivery SET state = 'dead' WHERE state = 'pending'")
    tenants = [make_tenant() for _ in range(8)]
    for one in tenants:
        for n in range(50):
            add(one, f"{target.url}/{n}", succeeded=True)
        happen(one)
    with Target() as dead:
        given_up: list[Received] = []
        released = Event()

        def hold(wire: Any, request: Received) -> None:
            if not released.wait(25):
                given_up.append(request)
            says(500)(wire, request)

        dead.behaviour = hold
        add(stranger, dead.url, succeeded=True)
        happen(stranger, 20)
        arrived: list[bool] = []  # whether the dead one was still waited for
        answer = says(200)

        def behave(wire: Any, request: Received) -> None:
            arrived.append(not given_up)
            if len(arrived) == 350:
                released.set()  # there is nothing more to see
            answer(wire, request)

        target.behaviour = behave
        delivery.deliver(budget=60)
    assert len(target.received) == 400
    assert 1 <= len(dead.received) <= delivery.EACH
    assert sum(arrived) >= 350, "they arrived while the dead one was waited for"


KILLS = 5
WORKER = """
from tenancy.webhooks import delivery
delivery.LEASE = delivery.timedelta(seconds=2)
while True:
    delivery.deliver()
"""


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_in_the_middle_loses_nothing(target: Target, add: AddEndpoint) -> None:
    """SIGKILL while requests are under way, five times; every event arrives, and only those under way twice."""
    tenant = make_tenant()
    add(tenant, target.url, succeeded=True)
    answer = says(200)

    def slow(wire: Any, request: Received) -> None:
        target.over.wait(0.02)
        answer(wire, request)

    target.behaviour = slow
    happen(tenant, 200)
    deadline = time.monotonic() + 90
    for _ in range(KILLS):
        before = len(target.received)
        with Fork(WORKER) as worker:
            target.wait_for(before + 20)
            worker.kill()
    with Fork(WORKER):
        while any(one.state == "pending" for one in deliveries(tenant)):
            assert time.monotonic() < deadline
            target.over.wait(0.05)
    arrived = [one.headers["webhook-id"] for one in target.received]
    assert len(set(arrived)) == 200
    assert len(arrived) <= 200 + KILLS * delivery.EACH
    assert {one.state for one in deliveries(tenant)} == {"delivered"}
    with scope(tenant.organization):
        assert not Delivery.objects.filter(leased_until__gt=timezone.now()).exists()
