"""`make demo`: the journey of a new customer, against the real server; and how the command ends."""

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from billing.metering.services import ship
from capsule_cloud.lib.embedded import places
from capsule_cloud.management.commands.demo import is_ours
from capsule_cloud.management.journey import Journey
from tests.live import ROOT, LiveServer


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


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty data folder that the unprivileged servers can reach."""
    base = places.ROOT_HOME if os.geteuid() == 0 else Path("/tmp")  # noqa: S108
    path = base / f"t-{uuid.uuid4().hex[:12]}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_of(folder: Path) -> list[str]:
    """What runs and names the folder on its command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:  # it has just ended
            continue
        if os.fsencode(folder) in words:
            found.append(words.decode(errors="replace"))
    return found


def test_on_an_empty_machine_the_command_starts_the_service_and_stops_it(folder: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "CAPSULE_"))}
    own = {"CAPSULE_DATA_DIR": str(folder), "PUBLIC_URL": f"http://localhost:{closed_port()}"}
    done = subprocess.run(
        [sys.executable, "manage.py", "demo"],
        cwd=ROOT,
        env=kept | own,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "starting the service" in done.stdout
    assert "All 14 steps work" in done.stdout
    assert "everything is stopped" in (folder / "demo.log").read_text()
    assert processes_of(folder) == []


def test_a_service_that_does_not_answer_is_named() -> None:
    with pytest.raises(CommandError, match=r"ask whether the service is alive: .*refused"):
        call_command("demo", url=f"http://127.0.0.1:{closed_port()}", stdout=io.StringIO())


def test_some_other_program_on_the_port_is_not_taken_for_ours(server: LiveServer) -> None:
    assert is_ours(server.url)
    assert not is_ours("http://127.0.0.1:9")
