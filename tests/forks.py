"""Processes to be killed, cheaply: each is forked from one that has set Django up, once for all tests of a worker."""

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from tests.live import ROOT, environment

# Reads what to do, forks, and says the number of the child and how it ended. The child prints into a pipe of its own.
NURSERY = """
import json, os, sys
import django
django.setup()
from django.conf import settings
for line in sys.stdin:
    wish = json.loads(line)
    if not (child := os.fork()):
        os.dup2(os.open(wish["pipe"], os.O_WRONLY), 1)
        for name, value in wish["settings"].items():
            setattr(settings, name, value)
        sys.argv[1:] = wish["arguments"]
        try:
            exec(wish["program"], {"__name__": "__main__"})
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 1
        sys.stdout.flush()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@functools.cache
def _nursery() -> "subprocess.Popen[str]":
    command, pipe = [sys.executable, "-c", NURSERY], subprocess.PIPE
    env = environment(PYTHONWARNINGS="ignore")
    made = subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, text=True)
    atexit.register(made.communicate)  # its loop ends with its input
    return made


class Fork:
    """A process that runs a program on this test's database while the context is open; one at a time.

    Its arguments are in `sys.argv`, as ever; `settings` are Django's, as they shall be in it.
    """

    def __init__(self, program: str, *arguments: object, **settings: Any) -> None:
        self._wish = {"program": program, "arguments": [*map(str, arguments)], "settings": settings}

    def __enter__(self) -> Self:
        nursery = _nursery()
        assert nursery.stdin is not None
        with TemporaryDirectory() as folder:
            pipe = Path(folder) / "pipe"
            os.mkfifo(pipe)
            print(json.dumps(self._wish | {"pipe": str(pipe)}), file=nursery.stdin, flush=True)
            self.stdout = pipe.open()
        self.returncode: int | None = None
        self.pid = self._said()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.returncode is None:
            self.kill()
        self.stdout.close()

    def line(self) -> str:
        """The next line that the process prints; none is left when it has ended."""
        return self.stdout.readline()

    def wait(self) -> int:
        """Return when the process has ended, with how: the number of a signal is negative."""
        if self.returncode is None:
            self.returncode = self._said()
        return self.returncode

    def kill(self) -> None:
        """Kill the process with SIGKILL, and return when it is dead; fails when something else has ended it before."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def _said(self) -> int:
        stdout = _nursery().stdout
        assert stdout is not None
        return int(stdout.readline())
