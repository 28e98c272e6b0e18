"""Processes to be killed, cheaply: each is forked from one that has imported everything already."""

import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import Self

from tests.live import ROOT, environment

# Reads a line, forks, says the child's number, and how it ended; whatever the child prints comes in between
NURSERY = """
import os, sys
import django
django.setup()
{definitions}
while sys.stdin.readline():
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    print("born", child, flush=True)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """One process at a time that runs `work()` of the given text, on this test's database, while the context is open.

    What the text imports is imported once, before the first is forked; it must not ask the database by itself.
    """

    def __init__(self, definitions: str, **variables: str) -> None:
        self._program = NURSERY.format(definitions=definitions)
        self._environ = environment(PYTHONWARNINGS="ignore", **variables)
        self._child = 0

    def __enter__(self) -> Self:
        self._nursery = subprocess.Popen(
            [sys.executable, "-c", self._program],
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child:
            os.kill(self._child, signal.SIGKILL)
        self._nursery.communicate()  # its loop ends with its input

    def start(self) -> None:
        """Fork the next process."""
        assert self._nursery.stdin is not None
        self._nursery.stdin.write("\n")
        self._nursery.stdin.flush()
        word, number = self.line().split()
        assert word == "born", word
        self._child = int(number)

    def line(self) -> str:
        """The next line that the process prints."""
        assert self._nursery.stdout is not None
        line = self._nursery.stdout.readline()
        assert line, "It ended too early."
        return line.rstrip("\n")

    def kill(self) -> None:
        """Kill the process with SIGKILL, and return when it is dead; fails when something else has ended it before."""
        os.kill(self._child, signal.SIGKILL)
        while not (said := self.line()).startswith("ended "):
            pass
        self._child = 0
        assert said == f"ended {-signal.SIGKILL}", said
