"""Child processes that never outlive their parent, and are stopped politely before they are killed."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_POLL = 0.02


class StartFailed(RuntimeError):
    """A program ended, or was still not ready when its time was over; the message quotes its last words."""


def _nothing() -> tuple[int, ...]:
    return ()


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Program:
    """What to run and how to treat it.

    `prepare` runs before every start and returns file descriptors that are handed over to the program (locks that live
    as long as it does); `is_ready` is polled afterwards for at most `patience` seconds. Stopping sends `stop_signal` to
    the program and kills its whole process group `grace` seconds later.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    uid: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 15.0
    patience: float = 60.0
    prepare: Callable[[], tuple[int, ...]] = field(default=_nothing)
    is_ready: Callable[[], bool] = field(default=_always)


class Child:
    """One running program, in a process group of its own so that Ctrl-C in a terminal reaches only the parent.

    Start it from the main thread: Linux delivers the parent-death signal when the *thread* that forked ends.
    """

    def __init__(self, program: Program, output: int | IO[bytes]) -> None:
        self.program = program
        handed_over = program.prepare()
        self.popen = subprocess.Popen(
            program.argv,
            env=program.env,
            cwd=program.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=handed_over,
            user=program.uid,
            group=program.uid,
            extra_groups=None if program.uid is None else [],
            preexec_fn=_die_with_parent(program.stop_signal),  # noqa: PLW1509  two system calls, no locks
        )
        for descriptor in handed_over:
            os.close(descriptor)

    @property
    def pid(self) -> int:
        """The program's process id, which is also its process group."""
        return self.popen.pid

    def is_running(self) -> bool:
        """Whether the program has not ended; collects it when it has."""
        return self.popen.poll() is None

    def wait_until_ready(self) -> None:
        """Block until the program answers.

        Raises StartFailed when it ends first or its patience is over.
        """
        deadline = time.monotonic() + self.program.patience
        while not self.program.is_ready():
            if not self.is_running():
                raise StartFailed(f"{self.program.name} ended with status {self.popen.returncode} while starting.")
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.program.name} was not ready after {self.program.patience:.0f} s.")
            time.sleep(_POLL)

    def stop(self) -> None:
        """Ask the program to end, wait its grace, then kill what is left of its group."""
        if self.is_running():
            self.popen.send_signal(self.program.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(self.program.grace)
        self.kill_group()

    def kill_group(self) -> None:
        """Kill the program and every child it left behind in its group (a killed web server leaves its workers)."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()


def _die_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """A function for the forked child: the kernel sends it `stop_signal` when its parent dies, however it dies."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def in_child() -> None:
        # Also resets what the parent ignores while it stops, because an ignored signal would stay ignored here.
        signal.signal(stop_signal, signal.SIG_DFL)
        prctl(_PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return in_child
