"""Reads sealed events out of PostgreSQL, many in one value, so that nothing is done for each of them in Python.

`COPY` sends a message for each row, and escapes what JSON is full of. Here one row holds the bodies of hundreds of
events, as they are and in their order, and beside them their places and lengths as binary numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pyarrow as pa
from django.db import connection
from django.db.models import Max, Min
from psycopg import sql
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format as Wire
from pyarrow import compute

from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing.models import Leaf
from tenancy.audit.selectors import first_id, matching
from tenancy.scope import current_organization_id

STEP = 8_192  # places that are read at once, half of them by each of two connections
TOGETHER = 512  # places that come in one value: what is copied a few times on its way should fit into a cache
KEPT = 16 * 2**20  # bytes: what a statement has in memory, twice
LONGEST_TRANSACTION = timedelta(minutes=10)  # so far the order of seals may differ from the order of ids
ID, MOMENT = slice(7, 43), slice(117, 144)  # where every body says its id, and when it was recorded
COLUMNS: dict[str, str | None] = {  # of CSV and Parquet, and where in the body each is from
    "id": "id",
    "recorded_at": "recorded_at",
    "action": "action",
    "actor_id": None,  # as they are searched for: of an end user a pseudonym
    "target_id": None,
}
SCHEMA = pa.schema([("seq", pa.int64()), *((name, pa.string()) for name in (*COLUMNS, "body"))])
# The places come last
_LINES = "string_agg(body, E'\\n') || E'\\n', string_agg(int4send(place), '')"
# One number holds two: a body's length and place; another the lengths of action, actor and target
_COLUMNS = (
    "string_agg(body, ''), string_agg(action, ''), string_agg(actor_id, ''), string_agg(target_id, ''), "
    "string_agg(int8send((octet_length(action)::int8 << 48) | (octet_length(actor_id)::int8 << 24) "
    "| octet_length(target_id)), ''), "
    "string_agg(int8send((place::int8 << 32) | octet_length(body)), '')"
)
_STATEMENT = (
    "SELECT {shown} FROM (SELECT (l.seq - {first})::int4 AS place, e.body, e.action, e.actor_id, e.target_id "
    "FROM audit_sealing_leaf l JOIN audit_auditevent e "
    "ON e.organization_id = l.organization_id AND e.id = l.event_id "
    "WHERE l.organization_id = {organization} AND e.organization_id = {organization} "
    "AND l.seq >= {first} AND l.seq < {last} {near} {chosen} ORDER BY l.seq) AS found GROUP BY place / {together}"
)
_ENDS = (
    "SELECT min(uuid_send(event_id)), max(uuid_send(event_id)) FROM audit_sealing_leaf "
    "WHERE organization_id = %s AND seq >= %s AND seq < %s"
)
_BETWEEN = (
    "SELECT count(*) FROM (SELECT FROM audit_sealing_leaf "
    "WHERE organization_id = %s AND event_id >= %s AND event_id <= %s LIMIT %s) AS found"
)


class _Raw(Loader):
    """Text and bytes as they came."""

    format = Wire.BINARY

    def load(self, data: Buffer) -> Buffer:
        """No copy: what PostgreSQL's library has stays in memory for as long as somebody looks at it."""
        return data


@dataclass(frozen=True, slots=True)
class Lines:
    """Bodies, each with a newline behind it, in pieces of many, and their places in ascending order."""

    places: "np.ndarray[Any, np.dtype[np.int64]]"
    pieces: Sequence[Buffer]


@dataclass(frozen=True, slots=True)
class Columns:
    """A table of SCHEMA, and the places of its rows in ascending order."""

    places: "np.ndarray[Any, np.dtype[np.int64]]"
    table: pa.Table


def keep_memory() -> None:
    """Let PostgreSQL's process keep its memory from one statement to the next. It goes with the connection.

    The C library gives the megabytes of a statement back to the kernel; to get them anew, page by page, took as long as
    all else together. It stops that once something large was freed, and keeps up to twice as much.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT length(repeat(' ', %s))", [KEPT])


def lines(first: int, last: int, places: Sequence[int] | None = None) -> Lines:
    """The events of [first, last), at most STEP, or those of these places in it, for JSON Lines."""
    rows = _ask(_LINES, first, last, places)
    pieces: list[Buffer] = [text for text, _ in rows]
    found = np.frombuffer(b"".join(numbers for _, numbers in rows), ">i4").astype(np.int64) + first
    if not _is_ascending(found):
        order, parts = np.argsort(found), b"".join(pieces).split(b"\n")
        pieces, found = [parts[one] + b"\n" for one in order], found[order]
    return Lines(found, pieces)


def columns(first: int, last: int, places: Sequence[int] | None = None) -> Columns:
    """The same for CSV and Parquet."""
    rows = _ask(_COLUMNS, first, last, places)
    table = pa.Table.from_batches([_batch(first, *row) for row in rows], SCHEMA)
    found = table["seq"].to_numpy()
    if not _is_ascending(found):
        order = np.argsort(found)
        table, found = table.take(pa.array(order)), found[order]
    return Columns(found, table)


def _batch(
    first: int, body: Buffer, action: Buffer, actor: Buffer, target: Buffer, lengths: Buffer, packed: Buffer
) -> pa.RecordBatch:
    """One row that PostgreSQL gave as rows of SCHEMA; the texts are not copied."""
    short, long = (np.frombuffer(one, ">i8").astype(np.int64) for one in (lengths, packed))
    bodies = _strings(body, _ends(long & 0xFFFFFFFF))
    columns = [
        pa.array((long >> 32) + first),
        _cut(bodies, ID),
        _cut(bodies, MOMENT),
        _strings(action, _ends(short >> 48)),
        _strings(actor, _ends(short >> 24 & 0xFFFFFF)),
        _strings(target, _ends(short & 0xFFFFFF)),
        bodies,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _ask(shown: str, first: int, last: int, places: Sequence[int] | None) -> list[tuple[Buffer, ...]]:
    """What is shown of them, TOGETHER in a row."""
    organization = current_organization_id()
    with psycopg.Cursor(connection.connection) as cursor:
        for kind in ("text", "bytea"):
            cursor.adapters.register_loader(kind, _Raw)
        cursor.execute(_ENDS, [organization, first, last], binary=True)
        [ends] = cursor.fetchall()
        is_near = ends[0] is not None and _are_neighbours(cursor, ends, last - first)
        # Neighbours are read in one go and matched in memory. Where one was sealed long after its time, each is looked
        # up: the planner, who cannot know that, would read all that lies between.
        cursor.execute(
            "SET LOCAL enable_mergejoin = off;"
            f"SET LOCAL enable_nestloop = {'off' if is_near else 'on'};"
            f"SET LOCAL enable_hashjoin = {'on' if is_near else 'off'}"
        )
        statement = sql.SQL(_STATEMENT).format(
            shown=sql.SQL(shown),
            organization=sql.Literal(organization),
            first=sql.Literal(first),
            last=sql.Literal(last),
            together=sql.Literal(TOGETHER),
            near=sql.SQL("AND e.id >= {} AND e.id <= {}").format(*(UUID(bytes=bytes(one)) for one in ends))
            if is_near
            else sql.SQL(""),
            chosen=sql.SQL("") if places is None else sql.SQL("AND l.seq = ANY ({})").format(list(places)),
        )
        cursor.execute(statement, binary=True)
        return sorted(cursor.fetchall(), key=lambda row: bytes(row[-1][:4]))  # by the first place in each


def _are_neighbours(cursor: "psycopg.Cursor[Any]", ends: tuple[bytes, bytes], count: int) -> bool:
    oldest, newest = (int.from_bytes(one[:6], "big") for one in ends)  # milliseconds
    if newest - oldest <= LONGEST_TRANSACTION.total_seconds() * 1000:
        return True
    most = 4 * count
    cursor.execute(_BETWEEN, [current_organization_id(), *(UUID(bytes=bytes(one)) for one in ends), most])
    [(found,)] = cursor.fetchall()
    return bool(found < most)


def _is_ascending(places: "np.ndarray[Any, np.dtype[np.int64]]") -> bool:
    return bool((places[1:] > places[:-1]).all())


def _ends(lengths: "np.ndarray[Any, np.dtype[np.int64]]") -> "np.ndarray[Any, np.dtype[np.int32]]":
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _strings(data: Buffer, ends: "np.ndarray[Any, np.dtype[np.int32]]") -> pa.StringArray:
    return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(data))


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
