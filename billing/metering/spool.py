"""Owns the usage spool: crash-safe files that every process appends to, and one shipper a machine empties."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import uuid_utils.compat as uuid_utils
from django.conf import settings

SEGMENT_BYTES = 16 * 2**20
BATCH_BYTES = 2 * 2**20
SUFFIX = ".usage"


class SpoolFull(OSError):
    """The disk took only a part of an event: it is not counted, and the answer must not go out as if it were."""


class _Segment:
    """This process's own spool file, opened at first use; a new one after SEGMENT_BYTES or a fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.descriptor, self.size = -1, 0

    def append(self, line: bytes) -> None:
        with self.lock:
            if self.descriptor < 0 or self.size >= SEGMENT_BYTES:
                self._open()
            # one write an event: once it returns, the event survives this process (the page cache keeps it)
            written = os.write(self.descriptor, line)
            if written != len(line):
                self.close()  # the torn line ends its segment: no later event may stand behind it
                raise SpoolFull("The usage spool took only a part of an event: the disk is full.")
            self.size += written

    def close(self) -> None:
        """Let go of the file; the next event opens another."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor, self.size = -1, 0

    def forget(self) -> None:
        """In a forked child: the parent's file stays the parent's, and its lock may have been held at the fork."""
        self.lock = threading.Lock()
        self.close()

    def _open(self) -> None:
        self.close()
        folder().mkdir(parents=True, exist_ok=True)
        while True:
            path = folder() / f"{uuid_utils.uuid7()}{SUFFIX}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            # Held as long as this file is open: the shipper removes only what nobody writes any more. It belongs to the
            # open file and not to the process, so that a shipper in this very process respects it too.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists():
                break
            os.close(descriptor)  # the shipper was faster: it took the new file for one that a dead process left
        self.descriptor = descriptor


_segment = _Segment()
os.register_at_fork(after_in_child=_segment.forget)


def folder() -> Path:
    """Where this machine keeps its spool."""
    return Path(settings.USAGE_SPOOL_DIR)


def append(line: bytes) -> None:
    """Keep one event, a line without its newline, beyond the death of this process. Raises SpoolFull."""
    _segment.append(line + b"\n")


def close() -> None:
    """End this process's segment, so that the shipper can finish it."""
    _segment.close()


@contextmanager
def shipper() -> Iterator[bool]:
    """Be this machine's one shipper, or get False when another is at work."""
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / "ship.lock").open("w") as file:
        yield _is_locked(file)


def _is_locked(file: IO[Any]) -> bool:
    """Whether nobody else held the file's lock; it is ours then, until the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole lines of a segment, from the byte `start` to `end`."""

    start: int
    end: int
    lines: list[bytes]


class Segment:
    """A segment as the shipper reads it."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name

    def batches(self, offset: int) -> Iterator[Batch]:
        """Whole lines from `offset` on, about BATCH_BYTES at a time; a torn last line waits for its rest."""
        with self.path.open("rb") as file:
            while whole := _whole_lines(file.fileno(), offset):
                end = offset + len(whole)
                yield Batch(offset, end, whole[:-1].split(b"\n"))
                offset = end

    @contextmanager
    def finished(self) -> Iterator[bool]:
        """Whether its writer is gone. Ask before the last read: what is written after the answer would be lost."""
        with self.path.open("rb") as file:
            yield _is_locked(file)

    def remove(self) -> None:
        """Delete the file; everything in it is stored."""
        self.path.unlink()


def _whole_lines(descriptor: int, offset: int) -> bytes:
    size = BATCH_BYTES
    while True:
        chunk = os.pread(descriptor, size, offset)
        whole = chunk[: chunk.rfind(b"\n") + 1]
        if whole or len(chunk) < size:
            return whole
        size *= 2  # a line longer than a batch: only damage makes one, and it must not hold up what follows


def segments() -> list[Segment]:
    """Every segment of this machine, oldest first."""
    return [Segment(path) for path in sorted(folder().glob(f"*{SUFFIX}"))]
