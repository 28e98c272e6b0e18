"""Runs several programs as one: one log, dead ones come back, everything stops together in reverse order."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, Self, TextIO

from capsule_cloud.lib.processes import Child, Program, StartFailed

_COLOURS = (36, 33, 35, 32, 34, 31)
_WIDTH = 9
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_STEADY_AFTER = 30.0  # a program that ran this long has earned a quick restart
_TICK = 0.1


class Stopped(BaseException):
    """Someone asked us to stop; like KeyboardInterrupt it passes through everything that catches errors."""


class Log:
    """One line a message: seconds since the start, who says it, what; in colour on a terminal (not with NO_COLOR)."""

    def __init__(self, stream: TextIO = sys.stdout, *, started: float | None = None) -> None:
        self._stream = stream
        self._started = time.monotonic() if started is None else started
        self._lock = threading.Lock()
        self._colours: dict[str, int] = {}
        self.is_coloured = stream.isatty() and "NO_COLOR" not in os.environ

    @property
    def seconds(self) -> float:
        """Since the log began."""
        return time.monotonic() - self._started

    def say(self, name: str, message: str) -> None:
        """Write the message, every line of it with its prefix; safe from any thread."""
        with self._lock:
            prefix = f"{self.seconds:7.1f}s {self._painted(name)} | "
            for line in message.splitlines():
                self._stream.write(f"{prefix}{line}\n")
            self._stream.flush()

    def copy(self, name: str, pipe: IO[bytes]) -> None:
        """Write what comes through the pipe until its end, in a thread of its own."""
        threading.Thread(target=self._copy, args=(name, pipe), name=f"log of {name}", daemon=True).start()

    def _copy(self, name: str, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                self.say(name, line.decode(errors="replace").rstrip())

    def _painted(self, name: str) -> str:
        if not self.is_coloured:
            return name.ljust(_WIDTH)
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\033[{colour}m{name.ljust(_WIDTH)}\033[0m"


@dataclass(slots=True)
class _Watched:
    child: Child
    started_at: float = field(default_factory=time.monotonic)
    pause: float = _FIRST_PAUSE
    restart_at: float | None = None


class Supervisor:
    """A context manager: programs started inside it are watched by `run` and stopped when it is left."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._watched: list[_Watched] = []
        self._handlers: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, _stop)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)  # an impatient second Ctrl-C must not interrupt an orderly stop
        try:
            for watched in reversed(self._watched):
                self.log.say(watched.child.program.name, "stopping")
                watched.child.stop()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        return kind is Stopped

    def start(self, *programs: Program) -> None:
        """Start the programs side by side and wait until all are ready.

        Raises StartFailed as soon as one of them ends, or does not get ready in time.
        """
        for program in programs:
            self._watched.append(_Watched(self._spawn(program)))
        for watched in self._watched[-len(programs) :]:
            watched.child.wait_until_ready()

    def run(self) -> None:
        """Watch until a signal raises Stopped: a program that ends is started again, later each time it fails early."""
        while True:
            for watched in self._watched:
                self._look_after(watched)
            time.sleep(_TICK)

    def _look_after(self, watched: _Watched) -> None:
        now, name = time.monotonic(), watched.child.program.name
        if watched.restart_at is not None:
            if now >= watched.restart_at:
                self._restart(watched)
        elif not watched.child.is_running():
            watched.child.kill_group()
            if now - watched.started_at > _STEADY_AFTER:
                watched.pause = _FIRST_PAUSE
            status = watched.child.popen.returncode
            self.log.say(
                name, f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
            )
            self._schedule(watched)

    def _restart(self, watched: _Watched) -> None:
        watched.restart_at, watched.started_at = None, time.monotonic()
        try:
            watched.child = self._spawn(watched.child.program)
        except StartFailed as error:
            self.log.say(watched.child.program.name, str(error))
            self._schedule(watched)

    def _schedule(self, watched: _Watched) -> None:
        self.log.say(watched.child.program.name, f"starting again in {watched.pause:g} s")
        watched.restart_at = time.monotonic() + watched.pause
        watched.pause = min(watched.pause * 2, _LONGEST_PAUSE)

    def _spawn(self, program: Program) -> Child:
        child = Child(program, subprocess.PIPE)
        if child.popen.stdout is None:
            raise StartFailed(f"{program.name} has no output to read.")
        self.log.copy(program.name, child.popen.stdout)
        return child


def _stop(*_: object) -> None:
    raise Stopped
