"""Writes the event file of an export: compressed, hashed, and resumable at points that are safely on disk.

A thread of its own compresses, hashes and writes, while the next piece comes from PostgreSQL; only a few pieces are in
memory at a time. What compresses ends a frame at each point, so that a file cut off there is a whole one.
"""

import contextlib
import gzip
import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import pyarrow as pa
from pyarrow import compute, csv, parquet

from tenancy.audit.exports import rows
from tenancy.audit.exports.models import Compression, Format

WAITING = 2  # pieces between the two threads
ZSTD_LEVEL, GZIP_LEVEL = 3, 1
ENDINGS = {Compression.NONE: "", Compression.GZIP: ".gz", Compression.ZSTD: ".zst"}
REPEATED = ["action", "actor_id"]  # columns with few different values
ROW_GROUP = 4_096
SLICE = 512  # rows of a table that become CSV at once
_NO_HEADER = csv.WriteOptions(include_header=False, quoting_style="needed")
_FORMULA = r"^[=+\-@\t\r]"
Events = rows.Lines | rows.Columns
# Arrow's own allocator keeps what it once had, for speed that is not missed here
pa.set_memory_pool(pa.system_memory_pool())


def ending(form: str, compression: str) -> str:
    """What an event file's name ends with."""
    return f".{form}{'' if form == Format.PARQUET else ENDINGS[Compression(compression)]}"


class Encoder(Protocol):
    """Makes a file's bytes of events."""

    def begin(self, file: "Hashed") -> None:
        """Write what comes before everything."""
        ...

    def add(self, file: "Hashed", events: Events) -> None:
        """Write events."""
        ...

    def end(self, file: "Hashed") -> None:
        """Write what comes after everything."""
        ...

    def abandon(self) -> None:
        """Write nothing any more."""
        ...


class TextEncoder:
    """JSON Lines and CSV, each piece a frame of its own where they are compressed."""

    def __init__(self, form: str, compression: str) -> None:
        self.is_csv, self.compression = form == Format.CSV, compression
        self._codec = pa.Codec("zstd", compression_level=ZSTD_LEVEL) if compression == Compression.ZSTD else None

    def begin(self, file: "Hashed") -> None:
        """The line with the names of CSV's columns."""
        if self.is_csv:
            file.write(self._packed((",".join(rows.SCHEMA.names) + "\n").encode()))

    def add(self, file: "Hashed", events: Events) -> None:
        """As `Encoder`."""
        if isinstance(events, rows.Lines):
            for piece in events.pieces if self.compression == Compression.NONE else [b"".join(events.pieces)]:
                file.write(self._packed(piece))
            return
        for start in range(0, events.table.num_rows, SLICE):
            sink = pa.BufferOutputStream()
            csv.write_csv(_without_formulas(events.table.slice(start, SLICE)), sink, _NO_HEADER)
            file.write(self._packed(sink.getvalue()))

    def end(self, file: "Hashed") -> None:
        """Nothing."""

    def abandon(self) -> None:
        """Nothing."""

    def _packed(self, text: Any) -> Any:
        if self._codec is not None:
            return self._codec.compress(text)
        if self.compression == Compression.GZIP:
            return gzip.compress(text, GZIP_LEVEL, mtime=0)
        return text


def _without_formulas(table: pa.Table) -> pa.Table:
    """Cells that a spreadsheet would compute get an apostrophe in front; bodies stay as they are."""
    for name in ("action", "actor_id", "target_id"):
        column = table[name]
        is_formula = compute.match_substring_regex(column, _FORMULA)
        if compute.any(is_formula).as_py():
            guarded = compute.binary_join_element_wise("'", column, "")
            table = table.set_column(
                table.schema.get_field_index(name), name, compute.if_else(is_formula, guarded, column)
            )
    return table


class ParquetEncoder:
    """Parquet: row groups of about ROW_GROUP bodies, compressed with Zstandard."""

    def __init__(self) -> None:
        self._writer: Any = None
        self._waiting: list[pa.Table] = []

    def begin(self, file: "Hashed") -> None:
        """The head of the file."""
        options: Any = {"compression": "zstd", "compression_level": 1, "write_statistics": False}
        self._writer = parquet.ParquetWriter(file, rows.SCHEMA, use_dictionary=REPEATED, **options)

    def add(self, file: "Hashed", events: Events) -> None:
        """As `Encoder`."""
        if isinstance(events, rows.Columns):
            self._waiting.append(events.table)
            if sum(table.num_rows for table in self._waiting) >= ROW_GROUP:
                self._write()

    def end(self, file: "Hashed") -> None:
        """The foot, without which the file is none."""
        self._write()
        self._writer.close()

    def abandon(self) -> None:
        """Let the writer have its foot, or it would write one when it is collected."""
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
            self._waiting.clear()


class Hashed:
    """A file that is hashed as it is written."""

    closed = False

    def __init__(self, file: BinaryIO, sha: "hashlib._Hash", size: int) -> None:
        self._file, self.sha, self.size = file, sha, size

    def write(self, data: Any) -> int:
        """Append."""
        data = memoryview(data)
        self.sha.update(data)
        self._file.write(data)
        self.size += data.nbytes
        return int(data.nbytes)

    def flush(self) -> None:
        """Let it be on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def tell(self) -> int:
        """How long it is."""
        return self.size

    def writable(self) -> bool:
        """It is."""
        return True

    def readable(self) -> bool:
        """It is not."""
        return False

    def seekable(self) -> bool:
        """It is not."""
        return False

    def close(self) -> None:
        """Whoever opened the file closes it."""


class EventFile:
    """One event file, from the first event to its SHA-256, in a context. What writing raises, a later call does."""

    def __init__(self, path: Path, form: str, compression: str, resume_at: int = 0) -> None:
        """`resume_at` bytes of the file are there from before, and stay; whatever is behind them goes."""
        self.is_resumable = form != Format.PARQUET
        self._encoder: Encoder = TextEncoder(form, compression) if self.is_resumable else ParquetEncoder()
        self._path, self._resume_at = path, resume_at
        self._under_way: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        self._file = self._path.open("r+b" if self._resume_at else "wb")
        self._file.truncate(self._resume_at)
        sha, size = hashlib.sha256(), 0
        while size < self._resume_at:
            piece = self._file.read(min(2**20, self._resume_at - size))
            sha.update(piece)
            size += len(piece)
        self._out: Any = Hashed(self._file, sha, size)
        self._thread = ThreadPoolExecutor(1, "export")
        if not self._resume_at:
            self._encoder.begin(self._out)
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._encoder.abandon()
        self._file.close()

    @property
    def size(self) -> int:
        """How many bytes are written."""
        return int(self._out.size)

    def add(self, events: Events) -> None:
        """Write events, soon."""
        while len(self._under_way) >= WAITING:
            self._under_way.popleft().result()
        self._under_way.append(self._thread.submit(self._encoder.add, self._out, events))

    def settle(self) -> int:
        """Wait until everything is on disk; returns how long the file is: it can be resumed there."""
        while self._under_way:
            self._under_way.popleft().result()
        self._out.flush()
        return self.size

    def finish(self) -> str:
        """End the file; returns its SHA-256 in hex."""
        self.settle()
        self._encoder.end(self._out)
        self._out.flush()
        return str(self._out.sha.hexdigest())
