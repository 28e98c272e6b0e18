"""Reads sealed events out of PostgreSQL, many in one value, so that nothing is done for each of them in Python.

`COPY` sends a message for each row, and escapes what JSON is full of. Here one row holds the bodies of a thousand
events, as they are, and beside them their places and lengths as binary numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from django.db import connection
from django.db.models import Max, Min
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format as Wire
from pyarrow import compute

from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing.models import Leaf
from tenancy.audit.selectors import first_id, matching
from tenancy.scope import current_organization_id

STEP = 3_072  # places that are read at once
TOGETHER = 1_024  # places that come in one value: what is copied a few times on its way should fit into a cache
KEPT = 16 * 2**20  # bytes: what a statement has in memory, twice
LONGEST_TRANSACTION = timedelta(minutes=10)  # so far the order of seals may differ from the order of ids
LENGTH = 0xFFFFFFFF  # the half of a number that is a body's; the other is its place
ID, MOMENT = slice(7, 43), slice(117, 144)  # where every body says its id, and when it was recorded
COLUMNS: dict[str, str | None] = {  # of CSV and Parquet, and where in the body each is from
    "id": "id",
    "recorded_at": "recorded_at",
    "action": "action",
    "actor_id": None,  # as they are searched for: of an end user a pseudonym
    "target_id": None,
}
SCHEMA = pa.schema([("seq", pa.int64()), *((name, pa.string()) for name in (*COLUMNS, "body"))])
_LINES = ("string_agg(body, E'\\n') || E'\\n'",)
# One number holds the lengths of action, actor and target
_SHORT = "(octet_length(action)::int8 << 48) | (octet_length(actor_id)::int8 << 24) | octet_length(target_id)"
_COLUMNS = (
    "string_agg(body, '')",
    "string_agg(action, '')",
    "string_agg(actor_id, '')",
    "string_agg(target_id, '')",
    f"string_agg(int8send({_SHORT}), '')",
)
# One row for the hashes, and whether the events are near each other; then one for each TOGETHER events: what is shown
# of them, and beside it numbers of a place and a body's length. They come as they were found, so that nothing is sorted
# there. The leaves are read once, in order, for all of it.
_STATEMENT = (
    "WITH leaves AS MATERIALIZED (SELECT seq - %(first)s AS place, event_id, hash, "
    "uuid_extract_timestamp(event_id) AS at FROM audit_sealing_leaf "
    "WHERE organization_id = %(organization)s AND seq >= %(first)s AND seq < %(last)s {chosen} ORDER BY seq), "
    "ends AS MATERIALIZED (SELECT min(at) AS oldest, max(at) AS newest, string_agg(hash, '\\x80') AS hashes, "
    "count(at) = count(*) AND max(at) - min(at) <= %(apart)s AS is_near FROM leaves) "
    "SELECT is_near, hashes, {nothing} FROM ends UNION ALL "
    "(SELECT NULL, NULL, {shown}, string_agg(int8send((place << 32) | octet_length(body)), '') "
    "FROM leaves JOIN audit_auditevent e ON e.id = event_id WHERE e.organization_id = %(organization)s {near} "
    "GROUP BY place / %(together)s)"
)
_NEAR = (
    "AND e.id >= (SELECT audit_first_id(oldest) FROM ends WHERE is_near) "
    "AND e.id < (SELECT audit_first_id(newest + interval '1 ms') FROM ends WHERE is_near)"
)
_BETWEEN = (
    "WITH ends AS MATERIALIZED (SELECT min(at) AS oldest, max(at) AS newest "
    "FROM (SELECT uuid_extract_timestamp(event_id) AS at FROM audit_sealing_leaf "
    "WHERE organization_id = %(organization)s AND seq >= %(first)s AND seq < %(last)s) AS times) "
    "SELECT count(*) FROM (SELECT FROM audit_sealing_leaf WHERE organization_id = %(organization)s "
    "AND event_id >= (SELECT audit_first_id(oldest) FROM ends) "
    "AND event_id < (SELECT audit_first_id(newest + interval '1 ms') FROM ends) LIMIT %(most)s) AS found"
)
Numbers = np.ndarray[Any, np.dtype[np.int64]]


class _Raw(Loader):
    """Text and bytes as they came."""

    format = Wire.BINARY

    def load(self, data: Buffer) -> Buffer:
        """No copy: what PostgreSQL's library has stays in memory for as long as somebody looks at it."""
        return data


@dataclass(frozen=True, slots=True)
class Lines:
    """Bodies, each with a newline behind it, in pieces of many, and their places in ascending order.

    `hashes` are those of all leaves that were asked for, with EXPORTED between them.
    """

    places: Numbers
    hashes: bytes
    pieces: Sequence[Buffer]


@dataclass(frozen=True, slots=True)
class Columns:
    """The same as a table of SCHEMA."""

    places: Numbers
    hashes: bytes
    table: pa.Table


def keep_memory() -> None:
    """Let PostgreSQL's process keep its memory from one statement to the next. It goes with the connection.

    The C library gives the megabytes of a statement back to the kernel; to get them anew, page by page, took as long as
    all else together. It stops that once something large was freed, and keeps up to twice as much.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT octet_length(repeat(' ', %s))", [KEPT])


def lines(first: int, last: int, places: Sequence[int] | None = None) -> Lines:
    """The events of [first, last), at most STEP, or those of these places in it, for JSON Lines."""
    hashes, rows = _ask(_LINES, first, last, places)
    found, pieces = [np.empty(0, np.int64)], list[Buffer]()
    for text, packed in rows:
        numbers = _numbers(packed)
        order = _order(numbers)
        if order is None:
            pieces.append(text)
        else:
            whole = _strings(text, (numbers & LENGTH) + 1).take(order)
            pieces.append(memoryview(whole.buffers()[2])[: len(text)])
        found.append(np.sort(numbers >> 32) + first)
    return Lines(np.concatenate(found), hashes, pieces)


def columns(first: int, last: int, places: Sequence[int] | None = None) -> Columns:
    """The same for CSV and Parquet."""
    hashes, rows = _ask(_COLUMNS, first, last, places)
    table = pa.Table.from_batches([_batch(first, *row) for row in rows], SCHEMA)
    return Columns(table["seq"].to_numpy(), hashes, table)


def _batch(
    first: int, body: Buffer, action: Buffer, actor: Buffer, target: Buffer, lengths: Buffer, packed: Buffer
) -> pa.RecordBatch:
    """One row that PostgreSQL gave as rows of SCHEMA in their order; where they came in it, no text is copied."""
    short, long = _numbers(lengths), _numbers(packed)
    texts = [
        _strings(action, short >> 48),
        _strings(actor, short >> 24 & 0xFFFFFF),
        _strings(target, short & 0xFFFFFF),
        _strings(body, long & LENGTH),
    ]
    order = _order(long)
    if order is not None:
        texts = [one.take(order) for one in texts]
    bodies = texts[-1]
    begins = [pa.array(np.sort(long >> 32) + first), _cut(bodies, ID), _cut(bodies, MOMENT)]
    return pa.RecordBatch.from_arrays([*begins, *texts], schema=SCHEMA)


def _ask(
    shown: Sequence[str], first: int, last: int, places: Sequence[int] | None
) -> tuple[bytes, list[tuple[Buffer, ...]]]:
    """The hashes, and what is shown of the events, TOGETHER in a row.

    Neighbours are read in one go and matched in memory. Where one was sealed long after its time, each is looked up:
    the planner, who cannot know that, would read all that lies between.
    """
    values = {
        "organization": current_organization_id(),
        "first": first,
        "last": last,
        "places": places,
        "apart": LONGEST_TRANSACTION,
        "together": TOGETHER,
    }
    with psycopg.Cursor(connection.connection) as cursor:
        for kind in ("text", "bytea"):
            cursor.adapters.register_loader(kind, _Raw)
        is_near, hashes, rows = _found(cursor, shown, values, _NEAR)
        if not is_near and _are_neighbours(cursor, values):
            is_near, hashes, rows = _found(cursor, shown, values | {"apart": timedelta.max}, _NEAR)
        if not is_near:
            _, hashes, rows = _found(cursor, shown, values, "")
    return hashes, rows


def _found(
    cursor: "psycopg.Cursor[Any]", shown: Sequence[str], values: Mapping[str, Any], near: str
) -> tuple[bool, bytes, list[tuple[Buffer, ...]]]:
    """Whether they are near each other, the hashes, and the rows: none where they should be near and are not."""
    together, each = ("on", "off") if near else ("off", "on")
    cursor.execute(
        "SET LOCAL enable_mergejoin = off; SET LOCAL enable_sort = off;"
        f"SET LOCAL enable_hashjoin = {together}; SET LOCAL enable_nestloop = {each};"
        f"SET LOCAL enable_indexscan = {each}"  # a bitmap reads each page of many neighbours once
    )
    statement = _STATEMENT.format(
        shown=", ".join(shown),
        nothing=", ".join(["NULL"] * (len(shown) + 1)),
        chosen="" if values["places"] is None else "AND seq = ANY (%(places)s)",
        near=near,
    )
    cursor.execute(statement.encode(), values, binary=True)
    # By a place of each, as none has those of another; before them what has no place
    said, *rows = sorted(cursor.fetchall(), key=lambda row: bytes(row[-1] or b"")[:4])
    return bool(said[0]), bytes(said[1] or b""), [row[2:] for row in rows]


def _are_neighbours(cursor: "psycopg.Cursor[Any]", values: Mapping[str, Any]) -> bool:
    """Whether few others lie between them."""
    most = 4 * (values["last"] - values["first"])
    cursor.execute(_BETWEEN, {**values, "most": most})
    [(found,)] = cursor.fetchall()
    return bool(found < most)


def _numbers(packed: Buffer) -> Numbers:
    return np.frombuffer(packed, ">i8").astype(np.int64)


def _order(numbers: Numbers) -> pa.Array | None:
    """How to take them in ascending order; None where they are."""
    return None if (numbers[1:] > numbers[:-1]).all() else pa.array(np.argsort(numbers))


def _strings(data: Buffer, lengths: Numbers) -> pa.StringArray:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(offsets), pa.py_buffer(data))


def _cut(bodies: pa.StringArray, part: slice) -> pa.StringArray:
    """The same part of every body: it is ASCII up to there."""
    return compute.binary_slice(bodies.view(pa.binary()), part.start, part.stop).view(pa.string())


def bounds(since: datetime | None, until: datetime | None, size: int) -> tuple[int, int]:
    """The range [first, last) of the `size` sealed events that holds everything recorded from `since` up to `until`.

    Events are sealed in the order of their transactions' ends, so at both ends it may hold a few that are older or
    newer by as long as a transaction lasts.
    """
    leaves = Leaf.objects.filter(seq__lt=size)
    first, last = 0, size
    if since is not None:
        after = leaves.filter(event_id__gte=first_id(since))
        oldest = after.order_by("event_id").values_list("seq", flat=True).first()
        near = after.filter(event_id__lt=first_id(since + LONGEST_TRANSACTION)).aggregate(least=Min("seq"))["least"]
        first = min(one for one in (oldest, near, size) if one is not None)
    if until is not None:
        before = leaves.filter(event_id__lt=first_id(until))
        newest = before.order_by("-event_id").values_list("seq", flat=True).first()
        near = before.filter(event_id__gte=first_id(until - LONGEST_TRANSACTION)).aggregate(most=Max("seq"))["most"]
        last = 1 + max(one for one in (newest, near, -1) if one is not None)
    return min(first, last), last


def chosen(first: int, last: int, filters: Mapping[str, str]) -> list[int]:
    """The places of [first, last) whose events are there and pass the filters, in order."""
    leaves = Leaf.objects.filter(seq__gte=first, seq__lt=last)
    places = dict(leaves.values_list("event_id", "seq"))
    if not places:
        return []
    rows = AuditEvent.objects.filter(id__gte=min(places), id__lte=max(places))
    action, actor, target = (filters.get(name, "") for name in ("action", "actor", "target"))
    found = matching(rows, action=action, actor=actor, target=target).filter(id__in=list(places))
    return sorted(places[one] for one in found.values_list("id", flat=True))
