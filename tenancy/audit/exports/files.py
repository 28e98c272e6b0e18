"""Writes the event file of an export: compressed, hashed, and resumable at points that are safely on disk.

Whoever reads events makes pieces of the file of them (`prepare`); one writes these, in their order. Where they are
compressed each is a frame of its own, so that a file cut off behind it is a whole one.
"""

import contextlib
import gzip
import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import numpy as np
import pyarrow as pa
from pyarrow import compute, csv, parquet

from tenancy.audit.exports import rows
from tenancy.audit.exports.models import Compression, Format

WRITTEN_BEHIND = 16 * 2**20  # bytes
ZSTD_LEVEL, GZIP_LEVEL = 3, 1
ENDINGS = {Compression.NONE: "", Compression.GZIP: ".gz", Compression.ZSTD: ".zst"}
REPEATED = ["action", "actor_id"]  # columns with few different values
ROW_GROUP = 4_096
_NO_HEADER = csv.WriteOptions(include_header=False, quoting_style="needed")
_FORMULA = r"^[=+\-@\t\r]"
_IS_FORMULA = np.isin(np.arange(256), list(b"=+-@\t\r"))
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

    def prepare(self, events: Events) -> Any:
        """What `add` takes, of events. In any thread."""
        ...

    def add(self, file: "Hashed", prepared: Any) -> None:
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

    def begin(self, file: "Hashed") -> None:
        """The line with the names of CSV's columns."""
        if self.is_csv:
            file.write(self._packed((",".join(rows.SCHEMA.names) + "\n").encode()))

    def prepare(self, events: Events) -> list[Any]:
        """As `Encoder`: pieces of the file."""
        if isinstance(events, rows.Lines):
            return [self._packed(piece) for piece in events.pieces]
        return [self._packed(_as_csv(batch)) for batch in events.table.to_batches()]

    def add(self, file: "Hashed", prepared: list[Any]) -> None:
        """As `Encoder`."""
        for piece in prepared:
            file.write(piece)

    def end(self, file: "Hashed") -> None:
        """Nothing."""

    def abandon(self) -> None:
        """Nothing."""

    def _packed(self, text: Any) -> Any:
        if self.compression == Compression.ZSTD:
            return pa.Codec("zstd", compression_level=ZSTD_LEVEL).compress(text)
        if self.compression == Compression.GZIP:
            return gzip.compress(text, GZIP_LEVEL, mtime=0)
        return text


def _as_csv(batch: pa.RecordBatch) -> pa.Buffer:
    """Cells that a spreadsheet would compute get an apostrophe in front; bodies stay as they are."""
    for name in ("action", "actor_id", "target_id"):
        column = batch.column(name)
        if _has_formulas(column):
            is_formula = compute.match_substring_regex(column, _FORMULA)
            guarded = compute.binary_join_element_wise("'", column, "")
            at = batch.schema.get_field_index(name)
            batch = batch.set_column(at, name, compute.if_else(is_formula, guarded, column))
    sink = pa.BufferOutputStream()
    csv.write_csv(batch, sink, _NO_HEADER)
    return sink.getvalue()


def _has_formulas(column: pa.StringArray) -> bool:
    """Whether a cell begins as a formula does: hardly any column has one, so it is asked without looking at each."""
    _, offsets, text = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[: len(column) + 1]
    begins = ends[:-1][ends[1:] > ends[:-1]]
    return bool(_IS_FORMULA[np.frombuffer(text, np.uint8)[begins]].any())


class ParquetEncoder:
    """Parquet: row groups of about ROW_GROUP bodies, compressed with Zstandard."""

    def __init__(self) -> None:
        self._writer: Any = None
        self._waiting: list[pa.Table] = []

    def begin(self, file: "Hashed") -> None:
        """The head of the file."""
        options: Any = {"compression": "zstd", "compression_level": 1, "write_statistics": False}
        self._writer = parquet.ParquetWriter(file, rows.SCHEMA, use_dictionary=REPEATED, **options)

    def prepare(self, events: Events) -> pa.Table | None:
        """As `Encoder`."""
        return events.table if isinstance(events, rows.Columns) else None

    def add(self, file: "Hashed", prepared: pa.Table) -> None:
        """As `Encoder`."""
        self._waiting.append(prepared)
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
        self._on_its_way = size

    def write(self, data: Any) -> int:
        """Append."""
        data = memoryview(data)
        self.sha.update(data)
        self._file.write(data)
        self.size += data.nbytes
        if self.size - self._on_its_way >= WRITTEN_BEHIND:
            # The disk begins at once: it would have everything to do at the end. And what it has leaves the memory
            os.posix_fadvise(self._file.fileno(), 0, self.size, os.POSIX_FADV_DONTNEED)
            self._on_its_way = self.size
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
    """One event file, from the first event to its SHA-256, in a context."""

    def __init__(self, path: Path, form: str, compression: str, resume_at: int = 0) -> None:
        """`resume_at` bytes of the file are there from before, and stay; whatever is behind them goes."""
        self.is_resumable = form != Format.PARQUET
        self._encoder: Encoder = TextEncoder(form, compression) if self.is_resumable else ParquetEncoder()
        self.prepare = self._encoder.prepare
        self._path, self._resume_at = path, resume_at

    def __enter__(self) -> Self:
        self._file = self._path.open("r+b" if self._resume_at else "wb")
        self._file.truncate(self._resume_at)
        sha, size = hashlib.sha256(), 0
        while size < self._resume_at:
            piece = self._file.read(min(2**20, self._resume_at - size))
            sha.update(piece)
            size += len(piece)
        self._out: Any = Hashed(self._file, sha, size)
        if not self._resume_at:
            self._encoder.begin(self._out)
        return self

    def __exit__(self, *error: object) -> None:
        self._encoder.abandon()
        self._file.close()

    @property
    def size(self) -> int:
        """How many bytes are written."""
        return int(self._out.size)

    def add(self, prepared: Any) -> None:
        """Write events, of which `prepare` made this."""
        self._encoder.add(self._out, prepared)

    def settle(self) -> int:
        """Wait until everything is on disk; returns how long the file is: it can be resumed there."""
        self._out.flush()
        return self.size

    def finish(self) -> str:
        """End the file; returns its SHA-256 in hex."""
        self._encoder.end(self._out)
        self._out.flush()
        return str(self._out.sha.hexdigest())
