"""Reads the events of an export through two connections, so that PostgreSQL has two processes at it, each on a core.

Each has a thread, which also makes of events what is written, and goes on while the pieces before are written.
"""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

from django.db import connection

from tenancy.audit.exports import rows
from tenancy.audit.exports.files import Events
from tenancy.audit.exports.models import Export, Format
from tenancy.audit.exports.turns import Turn

READERS = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """What was read of [start, end): the places of events, hashes, and what the file's `prepare` made of the events."""

    start: int
    end: int
    places: rows.Numbers
    hashes: bytes
    prepared: Any


class Reader:
    """Reads what an export holds, in a context."""

    def __init__(self, turn: Turn, export: Export, prepare: Callable[[Events], Any]) -> None:
        self._turn, self._filters, self._prepare = turn, export.filters, prepare
        self._rows = rows.lines if export.format == Format.JSONL else rows.columns
        self._under_way: deque[Future[Piece]] = deque()
        self._readers: list[ThreadPoolExecutor] = []

    def __enter__(self) -> Self:
        if connection.in_atomic_block:  # what a transaction has written is there for no other connection
            rows.keep_memory()
        else:
            self._readers = [ThreadPoolExecutor(1, "export-reader", rows.keep_memory) for _ in range(READERS)]
        return self

    def __exit__(self, *error: object) -> None:
        for one in self._under_way:
            one.cancel()
        for reader in self._readers:
            with contextlib.suppress(BrokenExecutor):  # it has never had a connection
                reader.submit(_disconnect)
        for reader in self._readers:
            reader.shutdown()

    def pieces(self, first: int, last: int) -> Iterator[Piece]:
        """The events of [first, last), in order."""
        ranges = ((start, min(start + rows.STEP, last)) for start in range(first, last, rows.STEP))
        if not self._readers:
            yield from (self.read(*one) for one in ranges)
            return
        turns = itertools.cycle(self._readers)
        for one in itertools.islice(ranges, len(self._readers)):
            self._under_way.append(next(turns).submit(self.read, *one))
        while self._under_way:
            piece = self._under_way.popleft().result()
            for one in itertools.islice(ranges, 1):
                self._under_way.append(next(turns).submit(self.read, *one))
            yield piece

    def read(self, start: int, end: int) -> Piece:
        """The events of [start, end), at most a step."""
        with self._turn.scope():
            chosen = rows.chosen(start, end, self._filters) if self._filters else None
            found = self._rows(start, end, chosen)
        return Piece(start, end, found.places, found.hashes, self._prepare(found))


def _disconnect() -> None:
    connection.close()  # `connection` is another one in each thread
