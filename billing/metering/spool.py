"""Owns the usage spool: crash-safe files that every process appends to, and one shipper a machine empties."""

import fcntl
import mmap
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
NEWLINE = ord("\n")


class SpoolFull(OSError):
    """The disk has no room for a segment: nothing is counted, and the answer must not go out as if it were."""


class _Segment:
    """This process's own spool file, opened at first use; a new one after SEGMENT_BYTES or a fork.

    It is memory that the kernel keeps beyond the death of this process. A `write` would let go of the interpreter's
    lock for every event, and a busy server's threads would wait for each other (docs/decisions/metering.md). Its blocks
    are taken from the disk beforehand, so that no event can find the disk full; what is not written yet reads as NUL.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.memory: mmap.mmap | None = None
        self.size = 0

    def append(self, line: bytes) -> None:
        with self.lock:
            end = self.size + len(line)
            if self.memory is None or end >= SEGMENT_BYTES:
                self._open()
                end = len(line)
            assert self.memory is not None  # noqa: S101  # as `_open` left it
            self.memory[self.size : end] = line
            self.memory[end] = NEWLINE  # last: a line that a kill tore has none
            self.size = end + 1

    def close(self) -> None:
        """Let go of the file; the next event opens another."""
        if self.memory is not None:
            self.memory.close()
        self.memory, self.size = None, 0

    def forget(self) -> None:
        """In a forked child: the parent's file stays the parent's, and its lock may have been held at the fork."""
        self.lock = threading.Lock()
        self.close()

    def _open(self) -> None:
        self.close()
        folder().mkdir(parents=True, exist_ok=True)
        descriptor = _new_file()
        try:
            os.posix_fallocate(descriptor, 0, SEGMENT_BYTES)
            self.memory = mmap.mmap(descriptor, SEGMENT_BYTES)  # which keeps the file open, and so its lock
        except OSError as error:
            raise SpoolFull(f"There is no room for the usage spool in {folder()}: {error}") from error
        finally:
            os.close(descriptor)


def _new_file() -> int:
    while True:
        path = folder() / f"{uuid_utils.uuid7()}{SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # Held as long as this file is open: the shipper removes only what nobody writes any more. It belongs to the
        # open file and not to the process, so that a shipper in this very process respects it too.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():
            return descriptor
        os.close(descriptor)  # the shipper was faster: it took the new file for one that a dead process left


_segment = _Segment()
os.register_at_fork(after_in_child=_segment.forget)


def folder() -> Path:
    """Where this machine keeps its spool."""
    return Path(settings.USAGE_SPOOL_DIR)


def append(line: bytes) -> None:
    """Keep one event, a line without newline and NUL, beyond the death of this process. Raises SpoolFull."""
    _segment.append(line)


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

    def batches(self, offset: int, *, is_finished: bool) -> Iterator[Batch]:
        """Whole lines from `offset` on, about BATCH_BYTES at a time; a torn last line waits for its rest.

        Behind a NUL a writer has yet to write. In a finished segment it is a hole that damage left, and part of a line.
        """
        with self.path.open("rb") as file:
            while whole := _whole_lines(file.fileno(), offset, is_finished=is_finished):
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


def _whole_lines(descriptor: int, offset: int, *, is_finished: bool) -> bytes:
    size = BATCH_BYTES
    while True:
        chunk = os.pread(descriptor, size, offset)
        is_last = len(chunk) < size
        if not is_finished:
            chunk, nul, _ = chunk.partition(b"\0")
            is_last = is_last or bool(nul)
        whole = chunk[: chunk.rfind(b"\n") + 1]
        if whole or is_last:
            return whole
        size *= 2  # a line longer than a batch: only damage makes one, and it must not hold up what follows


def segments() -> list[Segment]:
    """Every segment of this machine, oldest first."""
    return [Segment(path) for path in sorted(folder().glob(f"*{SUFFIX}"))]
