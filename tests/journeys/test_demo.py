"""`make demo`: the journey of a new customer, against the real server; and how the command ends."""

import io
import re
import socket
import threading
from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from billing.metering.services import ship
from capsule_cloud.management.commands.demo import is_ours
from capsule_cloud.management.journey import Journey
from tests.live import LiveServer


@pytest.fixture(scope="module")
def server(django_db_setup: None) -> Iterator[LiveServer]:
    """The real server, whose engine extracts and notices as it does for customers."""
    with LiveServer(workers=2, CAPSULE_MOCK_EXTRACTOR="") as server:
        yield server


@pytest.fixture
def jobs(transactional_db: None) -> Iterator[None]:
    """The job that ships usage, often enough."""
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(0.2):
            ship()
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    is_over.set()
    thread.join()


def test_a_new_customer_gets_all_the_way(server: LiveServer, jobs: None) -> None:
    steps = list(Journey(server.url).run())
    assert len(steps) == 14
    assert all(step.seen and step.seconds > 0 for step in steps)


def test_the_command_prints_each_step_with_its_time(server: LiveServer, jobs: None) -> None:
    out = io.StringIO()
    call_command("demo", url=server.url, stdout=out, no_color=True)
    lines = out.getvalue().splitlines()
    assert all(re.fullmatch(r"  ok +\d+ ms  [^:]+: .+", line) for line in lines[:-1])
    assert re.fullmatch(r"All 14 steps work \(\d+\.\d s\)\.", lines[-1])


def test_a_service_that_does_not_answer_is_named() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(CommandError, match=r"ask whether the service is alive: .*refused"):
        call_command("demo", url=f"http://127.0.0.1:{port}", stdout=io.StringIO())


def test_some_other_program_on_the_port_is_not_taken_for_ours(server: LiveServer) -> None:
    assert is_ours(server.url)
    assert not is_ours("http://127.0.0.1:9")
