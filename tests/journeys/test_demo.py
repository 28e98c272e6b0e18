"""`make demo`: the journey of a new customer, against the real server; and how the command ends."""

import io
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from capsule_cloud.management.commands.demo import is_ours
from tests.live import ROOT, LiveServer
from tests.machines import empty_folder, environment


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


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where nothing has ever run."""
    with empty_folder() as path:
        yield path


def test_on_an_empty_machine_the_command_starts_the_service_prints_each_step_and_stops_it(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "demo"],
        cwd=ROOT,
        env=environment(folder, PUBLIC_URL=f"http://localhost:{closed_port()}"),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    starting, ready, *steps, last = done.stdout.splitlines()
    assert "starting the service" in starting
    assert ready.startswith("Ready on port ")
    assert len(steps) == 14
    assert all(re.fullmatch(r"  ok +\d+ ms  [^:]+: .+", line) for line in steps)
    assert re.fullmatch(r"All 14 steps work \(\d+\.\d s\)\.", last)
    assert "everything is stopped" in (folder / "demo.log").read_text()
    assert processes_of(folder) == []


def test_a_service_that_does_not_answer_is_named() -> None:
    with pytest.raises(CommandError, match=r"ask whether the service is alive: .*refused"):
        call_command("demo", url=f"http://127.0.0.1:{closed_port()}", stdout=io.StringIO())


def test_some_other_program_on_the_port_is_not_taken_for_ours(live: LiveServer) -> None:
    assert is_ours(live.url)
    assert not is_ours("http://127.0.0.1:9")
