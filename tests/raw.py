"""Plain connections to this worker's database, past Django, and rows for tables that a test knows only by name."""

import functools
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import psycopg
from django.conf import settings
from psycopg import sql
from psycopg.types.json import Jsonb

from capsule_cloud.lib import embedded
from capsule_cloud.memory import entries

SAMPLES: dict[str, Any] = {
    "uuid": uuid.uuid4,
    "text": lambda: uuid.uuid4().hex,
    "varchar": lambda: uuid.uuid4().hex[:8],
    "int2": lambda: 1,
    "int4": lambda: 1,
    "int8": lambda: 1,
    "float8": lambda: 0.5,
    "numeric": lambda: 1,
    "bool": lambda: False,
    "timestamptz": lambda: "2026-01-01T00:00:00Z",
    "interval": lambda: "0",
    "xid8": lambda: "1",
    "jsonb": lambda: Jsonb({}),
    "bytea": lambda: uuid.uuid4().bytes,
    "tsvector": lambda: "word",
    "_text": list,
    "_varchar": list,
    "_int8": list,
    "_uuid": list,
}
# What some table's check constraint asks of a column of this name
FITTING: dict[str, Any] = {
    "ends_at": "2026-02-01T00:00:00Z",
    "period_end": "2026-02-01T00:00:00Z",
    "end": 2,
    "credited": 0,
    # sweeps of later tests find these rows too
    "plan_key": "pro",
    "embedding_model": entries.RECIPE,
}
# Columns that may be empty, and that some check constraint wants filled all the same
WANTED = {"scim_directorygroupmember": ["user_id"]}


def connect(role: Literal["app", "owner", "superuser"]) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of its own in autocommit mode."""
    url = getattr(embedded.urls(), role)
    return psycopg.connect(url, dbname=str(settings.DATABASES["default"]["NAME"]), autocommit=True)


@functools.cache
def _kept(database: str) -> psycopg.Connection[tuple[Any, ...]]:
    """The superuser's connection for what looks at every table; it takes longer to open than all that is asked."""
    return psycopg.connect(embedded.urls().superuser, dbname=database, autocommit=True)


def _server() -> psycopg.Connection[tuple[Any, ...]]:
    return _kept(str(settings.DATABASES["default"]["NAME"]))


@contextmanager
def inside(connection: psycopg.Connection[Any], organization_id: uuid.UUID) -> Iterator[None]:
    """A transaction with the organization in scope."""
    with connection.transaction():
        connection.execute("SELECT tenancy_enter(%s)", [organization_id])
        yield


def sample_row(table: str, owner_column: str, organization_id: uuid.UUID) -> dict[str, Any]:
    """Values for every column that must have one. Foreign keys point nowhere: only `plant` gets it in."""
    columns = (
        _server()
        .execute(
            "SELECT column_name, udt_name, character_maximum_length FROM information_schema.columns "
            "WHERE table_schema = 'public' "
            "AND table_name = %s AND is_generated = 'NEVER' AND is_identity = 'NO' "
            "AND (is_nullable = 'NO' OR column_name = ANY(%s))",
            [table, WANTED.get(table, [])],
        )
        .fetchall()
    )
    row = {}
    for column, kind, longest in columns:
        assert kind in SAMPLES, f"tests/raw.py has no sample of {kind}, the type of {table}.{column}."
        row[column] = FITTING[column] if column in FITTING else SAMPLES[kind]()
        if longest:
            row[column] = row[column][:longest]
    return row | {owner_column: organization_id}


def insert(connection: psycopg.Connection[Any], table: str, row: dict[str, Any]) -> None:
    """Insert the row with this connection's rights."""
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join([sql.Placeholder()] * len(row)),
    )
    connection.execute(query, list(row.values()))


def plant(table: str, owner_column: str, organization_id: uuid.UUID) -> dict[str, Any]:
    """Put a row of the organization into the table as the superuser, without regard to foreign keys. Returns it."""
    row = sample_row(table, owner_column, organization_id)
    server = _server()
    with server.transaction():
        server.execute("SET LOCAL session_replication_role = replica")  # no foreign keys
        insert(server, table, row)
    return row


def rows_of(table: str, owner_column: str, organization_id: uuid.UUID) -> list[str]:
    """The organization's rows as the superuser sees them, as sorted JSON."""
    query = sql.SQL("SELECT to_jsonb(t) FROM {} t WHERE {} = %s").format(
        sql.Identifier(table), sql.Identifier(owner_column)
    )
    return sorted(json.dumps(row, sort_keys=True) for (row,) in _server().execute(query, [organization_id]))
