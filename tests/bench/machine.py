"""What the figures were taken on, and how much of it others used meanwhile."""

import os
import platform
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")


def describe() -> str:
    """One line: processor, cores, memory, system, Python."""
    fields = dict(
        line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    )
    processor = next(iter(fields.values()), platform.machine()).strip()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def stamp(command: str) -> str:
    """When, on which commit and by which command, for under a table."""
    ask = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    commit = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit}, `{command}`"


@dataclass(slots=True)
class Cpu:
    """CPU seconds from its making on: of the servers that this process runs, and of everybody else."""

    _machine: float = field(init=False)
    _own: dict[int, float] = field(init=False)
    _reaped: float = field(init=False)
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._machine, self._own, self._reaped = _machine_busy(), _tree(os.getpid()), _reaped()
        self._started = time.monotonic()

    def servers(self) -> float:
        """CPU seconds of every process below this one: web servers, PostgreSQL, Valkey; not of what has ended."""
        return self._tree_since() - self._used(os.getpid(), _tree(os.getpid()))

    def others(self) -> float:
        """The share of the machine that processes other than ours have used since, 0 to 1."""
        elapsed = time.monotonic() - self._started
        ours = self._tree_since() + _reaped() - self._reaped
        busy = _machine_busy() - self._machine
        return max(0.0, (busy - ours) / (elapsed * (os.cpu_count() or 1)))

    def _tree_since(self) -> float:
        now = _tree(os.getpid())
        return sum(self._used(pid, now) for pid in now)

    def _used(self, pid: int, now: dict[int, float]) -> float:
        return now[pid] - self._own.get(pid, 0.0)


def memory(pid: int) -> int:
    """Bytes that the process alone would give back if it ended (its private pages)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    private = [line.split()[1] for line in rollup if line.startswith("Private_")]
    return sum(int(kilobytes) for kilobytes in private) * 1024


def children(pid: int) -> list[int]:
    """The processes that `pid` started and that still run."""
    return [child for child, (parent, _) in _processes().items() if parent == pid]


def _tree(root: int) -> dict[int, float]:
    processes = _processes()
    by_parent: dict[int, list[int]] = {}
    for pid, (parent, _) in processes.items():
        by_parent.setdefault(parent, []).append(pid)
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        if pid in processes:
            found[pid] = processes[pid][1]
        waiting += by_parent.get(pid, [])
    return found


def _processes() -> dict[int, tuple[int, float]]:
    """Every process: its parent, and its CPU seconds so far."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(") ")[2].split()
        except OSError:  # it ended meanwhile
            continue
        found[int(path.parent.name)] = (int(fields[1]), (int(fields[11]) + int(fields[12])) / TICK)
    return found


def _reaped() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _machine_busy() -> float:
    line = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, softirq = (int(ticks) for ticks in line[:7])
    return (user + nice + system + irq + softirq) / TICK
