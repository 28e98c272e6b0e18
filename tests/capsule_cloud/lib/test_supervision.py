"""Several programs as one: what dies comes back, what stops stops in reverse, and nothing is left behind."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from capsule_cloud.lib.processes import Program, StartFailed
from capsule_cloud.lib.supervision import Log, Stopped, Supervisor

REPOSITORY = Path(__file__).resolve().parents[3]
# Announces its number, then sleeps; `ended` appears when it was asked to end.
SLEEPER = """
import os, pathlib, signal, sys, time
def end(*_):
    with open({folder!r} + "/ended", "a") as file: file.write({name!r} + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path({folder!r}, {name!r}).write_text(str(os.getpid()))
print("hello from", {name!r}, flush=True)
time.sleep(60)
"""


def sleeper(folder: Path, name: str) -> Program:
    """A program that runs until it is stopped, and is ready when its number is known."""
    code = SLEEPER.format(folder=str(folder), name=name)
    return Program(name=name, argv=(sys.executable, "-c", code), is_ready=(folder / name).exists)


def is_alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text() != ""
    except FileNotFoundError:
        return False


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true within twenty seconds."""
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


class TellingLog(Log):
    """A log that calls back at every message."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        super().__init__(io.StringIO())
        self._tell = tell

    def say(self, name: str, message: str) -> None:
        """Write and tell."""
        super().say(name, message)
        self._tell(name, message)


def test_programs_stop_in_reverse_order(tmp_path: Path) -> None:
    with Supervisor(Log(io.StringIO())) as supervisor:
        supervisor.start(sleeper(tmp_path, "first"))
        supervisor.start(sleeper(tmp_path, "second"), sleeper(tmp_path, "third"))
    assert (tmp_path / "ended").read_text().split() == ["third", "second", "first"]


def test_every_line_says_when_and_who(tmp_path: Path) -> None:
    output = io.StringIO()
    log = Log(output)
    with Supervisor(log) as supervisor:
        supervisor.start(sleeper(tmp_path, "worker"))
        assert eventually(lambda: "hello" in output.getvalue())
    assert "s worker    | hello from worker\n" in output.getvalue()
    log.say("dev", "two\nlines")
    assert output.getvalue().count("s dev       | ") == 2


def test_a_killed_program_is_started_again(tmp_path: Path) -> None:
    numbers: list[int] = []

    def kill_once_then_stop(name: str, message: str) -> None:
        if message.startswith("hello"):
            numbers.append(int((tmp_path / "web").read_text()))
            os.kill(
                numbers[0] if len(numbers) == 1 else os.getpid(), [signal.SIGKILL, signal.SIGTERM][len(numbers) - 1]
            )

    log = TellingLog(kill_once_then_stop)
    with Supervisor(log) as supervisor:
        supervisor.start(sleeper(tmp_path, "web"))
        supervisor.run()
    assert len(set(numbers)) == 2
    assert not any(is_alive(number) for number in numbers)


def test_the_group_of_a_killed_program_goes_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, pathlib, sys, time; child = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(tmp_path)!r}, 'grandchild').write_text(str(child.pid))\n"
        "time.sleep(60)"
    )
    program = Program("parent", (sys.executable, "-c", code), is_ready=(tmp_path / "grandchild").exists)
    with Supervisor(Log(io.StringIO())) as supervisor:
        supervisor.start(program)
        assert eventually(lambda: (tmp_path / "grandchild").read_text() != "")
        grandchild = int((tmp_path / "grandchild").read_text())
        assert eventually(lambda: is_alive(grandchild))
    assert eventually(lambda: not is_alive(grandchild))


def test_a_program_that_ends_while_starting_fails_the_start_and_stops_the_others(tmp_path: Path) -> None:
    broken = Program("broken", (sys.executable, "-c", "raise SystemExit(3)"), is_ready=lambda: False)
    with pytest.raises(StartFailed, match="broken ended with status 3"), Supervisor(Log(io.StringIO())) as supervisor:
        supervisor.start(sleeper(tmp_path, "good"), broken)
    assert (tmp_path / "ended").read_text() == "good\n"


def test_a_program_that_never_gets_ready_fails_when_its_patience_is_over(tmp_path: Path) -> None:
    program = sleeper(tmp_path, "slow")
    never = Program(program.name, program.argv, is_ready=lambda: False, patience=0.2)
    with pytest.raises(StartFailed, match="slow was not ready after 0 s"), Supervisor(Log(io.StringIO())) as supervisor:
        supervisor.start(never)


def test_a_program_that_ignores_the_signal_is_killed_after_its_grace(tmp_path: Path) -> None:
    stubborn = "import signal, pathlib, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    stubborn += f"pathlib.Path({str(tmp_path)!r}, 'ready').touch(); time.sleep(60)"
    program = Program("stubborn", (sys.executable, "-c", stubborn), is_ready=(tmp_path / "ready").exists, grace=0.2)
    started = time.monotonic()
    with Supervisor(Log(io.StringIO())) as supervisor:
        supervisor.start(program)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_stops_everything_and_the_old_handlers_come_back(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Supervisor(Log(io.StringIO())) as supervisor:
        supervisor.start(sleeper(tmp_path, "web"))
        with pytest.raises(Stopped):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert (tmp_path / "ended").read_text() == "web\n"


def test_programs_end_when_the_supervisor_itself_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from capsule_cloud.lib.supervision import Log, Supervisor\n"
        "from tests.capsule_cloud.lib.test_supervision import sleeper\n"
        "with Supervisor(Log()) as supervisor:\n"
        f"    supervisor.start(sleeper(Path({str(tmp_path)!r}), 'web')); supervisor.run()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    assert eventually(lambda: (tmp_path / "web").exists() and (tmp_path / "web").read_text() != "")
    parent.kill()
    parent.wait()
    child = int((tmp_path / "web").read_text())
    assert eventually(lambda: not is_alive(child))
    assert (tmp_path / "ended").read_text() == "web\n"
