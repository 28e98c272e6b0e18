"""`manage.py dev`: one command starts everything, heals it, and stops it."""

import http.client
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from capsule_cloud.lib.embedded.server import command_line
from capsule_cloud.lib.supervision import Log
from capsule_cloud.management.commands.dev import LogStream, chosen_port
from tests.architecture.sources import ROOT
from tests.machines import environment, migrated_folder

PATIENCE = 120.0


class Service:
    """A running `manage.py dev` and everything that it printed."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "dev", "--port", str(port)],
            cwd=ROOT,
            env=environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line

    def children(self) -> dict[str, int]:
        """The process ids of the programs, by name."""
        words = {
            "web": "granian",
            "worker": "--quiet worker",
            "scheduler": "--quiet beat",
            "postgres": "bin/postgres",
            "valkey": "valkey-server",
        }
        lines = {int(pid): " ".join(command_line(int(pid))) for pid in children_of(self.process.pid)}
        return {name: pid for name, word in words.items() for pid, line in lines.items() if word in line}

    def is_answering(self) -> bool:
        """Whether the service says that it is alive."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; fail with the log when it does not, or when the service has ended."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and return the exit status, once all of its output has been read."""
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout
        self.process.stdout.close()
        return status


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder whose database is migrated."""
    with migrated_folder() as path:
        yield path


def children_of(pid: int) -> list[str]:
    """The numbers of a process's children."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_one_command_starts_everything_serves_a_new_customer_heals_it_and_stops_it(folder: Path) -> None:
    first = Service(folder, free_port())
    first.wait_for(lambda: "recall it" in first.output.lower() and "/api/v1/recall" in first.output)
    assert first.is_answering()
    assert re.search(r"Sign in: +demo@example.com +\S{16}", first.output)
    before = first.children()
    assert set(before) == {"web", "worker", "scheduler", "postgres", "valkey"}
    journey = io.StringIO()
    call_command("demo", url=f"http://127.0.0.1:{first.port}", stdout=journey, no_color=True)
    assert "All 14 steps work" in journey.getvalue()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    first.wait_for(
        lambda: len(first.children()) == len(before) and not set(before.values()) & set(first.children().values())
    )
    first.wait_for(first.is_answering)
    pids = first.children().values()
    assert first.stop() == 0, first.output
    assert "everything is stopped" in first.output
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    second = Service(folder, first.port)
    second.wait_for(lambda: "/api/v1/recall" in second.output)
    assert "the database is up to date" in second.output
    assert re.findall(r"Bearer (\S+)\"", first.output) == re.findall(r"Bearer (\S+)\"", second.output)
    assert second.stop(signal.SIGINT) == 0, second.output


def test_a_wanted_port_that_is_taken_is_refused() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(CommandError, match=rf"Port {port} is taken: stop what listens there, or choose another"):
            chosen_port(port)


def test_without_a_wish_the_first_free_port_is_taken() -> None:
    port = chosen_port(None)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        assert chosen_port(None) > port


def test_a_commands_output_becomes_lines_of_the_log() -> None:
    output = io.StringIO()
    stream = LogStream(Log(output), "migrate")
    for piece in ("  Applying one", "... OK\n\n", "unfinished"):
        stream.write(piece)
    assert output.getvalue().endswith("s migrate   | Applying one... OK\n")
    assert "unfinished" not in output.getvalue()
