"""Reads the events of an export through two connections, so that PostgreSQL has two processes at it, each on a core."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from django.db import connection

from tenancy.audit.exports import rows
from tenancy.audit.exports.files import Events
from tenancy.audit.exports.models import Export, Format
from tenancy.audit.exports.turns import Turn


class Reader:
    """Reads what an export holds, in a context."""

    def __init__(self, turn: Turn, export: Export) -> None:
        self._turn, self._filters = turn, export.filters
        self._rows = rows.lines if export.format == Format.JSONL else rows.columns

    def __enter__(self) -> Self:
        rows.keep_memory()
        # What a transaction has written is there for no other connection
        is_alone = connection.in_atomic_block
        self._other = None if is_alone else ThreadPoolExecutor(1, "export-reader", initializer=rows.keep_memory)
        return self

    def __exit__(self, *error: object) -> None:
        if self._other is not None:
            self._other.submit(_disconnect)
            self._other.shutdown()

    def read(self, start: int, end: int) -> Sequence[Events]:
        """The events of [start, end) in order; a thread reads the second half on a connection of its own."""
        if self._other is None:
            return [self._read(start, end)]
        middle = (start + end) // 2
        second = self._other.submit(self._read, middle, end)
        return [self._read(start, middle), second.result()]

    def _read(self, start: int, end: int) -> Events:
        with self._turn.scope():
            chosen = rows.chosen(start, end, self._filters) if self._filters else None
            return self._rows(start, end, chosen)


def _disconnect() -> None:
    connection.close()  # `connection` is another one in each thread
