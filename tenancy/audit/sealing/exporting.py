"""What makes an export prove itself: the hashes of the whole tree around it, and a signed manifest.

docs/api/verify_audit.py is the other half: it shares no code with this, and whoever checks an export needs none.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from django.db import connection

from tenancy.audit.sealing import keys, notes, selectors
from tenancy.audit.sealing.merkle import Tree, cover
from tenancy.audit.sealing.models import Checkpoint
from tenancy.scope import current_organization_id

FORMAT = "capsule-audit-export/1"
SCHEMA_VERSION = 1
EXPORTED = 0x80  # in a record's first byte: a leaf whose event is in the export
RECORD = 33  # bytes: what it is, and a hash
AT_ONCE = 4_096  # leaves


class Stream(Protocol):
    """Takes bytes."""

    def write(self, data: bytes, /) -> Any:
        """Append them."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of events: `jsonl`, `csv` or `parquet`, compressed by `none`, `gzip` or `zstd`; its SHA-256 in hex."""

    name: str
    format: str
    compression: str
    first: int
    count: int
    bytes: int
    sha256: str


def write_hashes(stream: Stream, *, size: int, first: int, count: int, records: Iterable[bytes] | None = None) -> None:
    """Write the hashes file of an export of the places [first, first + count) of a tree of `size`, in constant memory.

    For the organization in scope. Records, which cover the tree from left to right: EXPORTED and a leaf's
    hash, read here unless the caller has them; or the level and the hash of a subtree that is not in the export.
    Raises NotSealed.
    """
    tree = selectors.tree(size)
    _write_others(stream, tree, 0, first)
    for some in _records(first, first + count) if records is None else records:
        stream.write(some)
    _write_others(stream, tree, first + count, size)


def write_selected_hashes(stream: Stream, *, size: int, seqs: Iterable[int]) -> int:
    """The same for an export of some events, by their places in ascending order; returns how many they were."""
    tree, at, count = selectors.tree(size), 0, 0
    for seq in seqs:
        _write_others(stream, tree, at, seq)
        stream.write(bytes([EXPORTED]) + tree.subtree(0, seq))
        at, count = seq + 1, count + 1
    _write_others(stream, tree, at, size)
    return count


def manifest(
    *,
    checkpoint: Checkpoint,
    files: Sequence[File],
    hashes: File,
    first: int,
    count: int,
    columns: Mapping[str, str | None],
    created_at: datetime,
    selection: Mapping[str, str] | None = None,
    since: int | None = None,
) -> bytes:
    """The signed manifest of an export of the organization in scope, as JSON. Raises NotSealed.

    `columns` says from which path of the body each column of CSV or Parquet is, None for one that is not; `selection`
    is the filter, in words, of an export that is not whole; `since` the size of the export's before.
    """
    content = {
        "format": FORMAT,
        "organization_id": str(current_organization_id()),
        "created_at": created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "schema_version": SCHEMA_VERSION,
        "first": first,
        "count": count,
        "selection": None if selection is None else dict(selection),
        "checkpoint": checkpoint.note,
        "files": [asdict(file) for file in files],
        "hashes": {"name": hashes.name, "bytes": hashes.bytes, "sha256": hashes.sha256},
        "columns": dict(columns),
        "since": _since(since, checkpoint.size),
    }
    message = FORMAT.encode() + b"\n" + canonical(content)
    signature = notes.signature(selectors.organization_origin(), message, keys.signers()[0])
    whole = {"manifest": content, "signature": notes.encoded(signature)}
    return json.dumps(whole, ensure_ascii=False, indent=1).encode() + b"\n"


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, without blanks, in UTF-8: RFC 8785, as there are no fractions in it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _since(size: int | None, whole: int) -> dict[str, Any] | None:
    if not size:
        return None
    before = selectors.checkpoint_at(size)
    if before is None:
        raise selectors.NotSealed(f"There is no checkpoint of {size} events.")
    proof = selectors.consistency_proof(size, whole)
    return {"checkpoint": before.note, "consistency": [notes.encoded(one) for one in proof]}


def _write_others(stream: Stream, tree: Tree, start: int, end: int) -> None:
    for level, index in cover(start, end):
        stream.write(bytes([level]) + tree.subtree(level, index))


def _records(first: int, last: int) -> Iterator[bytes]:
    """Of exported leaves, made by PostgreSQL: a Python object for each would take most of the time."""
    for start in range(first, last, AT_ONCE):
        end = min(start + AT_ONCE, last)
        with connection.cursor() as cursor:
            cursor.execute(
                r"SELECT string_agg(hash, '\x80' ORDER BY seq) FROM audit_sealing_leaf "
                "WHERE organization_id = %s AND seq >= %s AND seq < %s",
                [current_organization_id(), start, end],
            )
            [(hashes,)] = cursor.fetchall()
        yield records_of(hashes, start, end)


def records_of(hashes: bytes | None, start: int, end: int) -> bytes:
    """The records of exported leaves, [start, end), whose hashes come with EXPORTED between them. Raises NotSealed."""
    records = bytes([EXPORTED]) + (hashes or b"")
    if len(records) != (end - start) * RECORD:
        raise selectors.NotSealed(f"The places from {start} to {end} are not all sealed.")
    return records
