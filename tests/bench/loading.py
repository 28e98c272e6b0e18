"""Puts the same corpus into the product's tables and the engine's folder, as their own code would, only quicker."""

import json
import random
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import uuid_utils.compat as uuid_utils
from capsule_memory.storage.local import LocalStorage

from capsule_cloud.lib import embedded
from capsule_cloud.memory import entries
from tests.bench import corpus

CAPSULE_COLUMNS = (
    "id, organization_id, project_id, capsule_id, user_id, session_id, agent_id, origin_platform, capsule_type, "
    "status, title, tags, turn_count, created_at, sealed_at, is_pinned, size, document"
)
ENTRY_COLUMNS = (
    "capsule_id, organization_id, project_id, user_id, capsule_type, tags, keys, lexemes, length, embedding, "
    "embedding_model, lot"
)
CHUNK = 2_500


def into_product(organization_id: UUID, project_id: UUID, count: int) -> None:
    """The first `count` capsules of the corpus as rows of a project, indexed by the product's own code."""
    chunks = [(organization_id, project_id, start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    with ProcessPoolExecutor() as pool, psycopg.connect(embedded.urls().superuser) as connection:
        for rows in pool.map(_rows, *zip(*chunks, strict=True)):
            _copy(connection, f"COPY memory_capsule ({CAPSULE_COLUMNS}) FROM STDIN", [capsule for capsule, _ in rows])
            _copy(connection, f"COPY memory_searchentry ({ENTRY_COLUMNS}) FROM STDIN", [entry for _, entry in rows])
        connection.execute("SELECT set_config('app.organization_id', %s, true)", [str(organization_id)])
        if count > 300:  # as `memory_save` does from there on
            connection.execute("SELECT memory_refresh_statistics(%s, %s)", [organization_id, project_id])


def settle() -> None:
    """What the server does by itself within minutes of such a load: statistics, visibility, a checkpoint."""
    with psycopg.connect(embedded.urls().superuser, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def into_engine(folder: Path, count: int) -> None:
    """The first `count` capsules in the engine's file storage; its own `save` rewrites the whole index for each."""
    storage = LocalStorage(folder)
    user_folder = storage._user_dir(corpus.USER)
    index = {}
    for number in range(count):
        capsule = corpus.example(number).capsule
        storage._capsule_path(corpus.USER, capsule.capsule_id).write_text(capsule.to_json(), encoding="utf-8")
        index[capsule.capsule_id] = storage._index_entry(capsule)
    (user_folder / "index.json").write_text(json.dumps(index, ensure_ascii=False, indent=2, default=str))


def _copy(connection: psycopg.Connection[Any], statement: str, rows: list[tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _rows(
    organization_id: UUID, project_id: UUID, start: int, end: int
) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Rows of both tables for the capsules from `start` to before `end`."""
    now = datetime.now(UTC)
    rows = []
    for number in range(start, end):
        text = corpus.example(number).capsule.to_json()
        document = json.loads(text)
        entry = entries.make(project_id, corpus.USER, document)
        key, type_, tags = uuid_utils.uuid7(), document["capsule_type"], document["metadata"]["tags"]
        identity, metadata, lifecycle = document["identity"], document["metadata"], document["lifecycle"]
        capsule = (
            *(key, organization_id, project_id, document["capsule_id"], corpus.USER, identity["session_id"], ""),
            *(identity["origin_platform"], type_, lifecycle["status"], metadata["title"], tags, metadata["turn_count"]),
            *(now, lifecycle["sealed_at"], False, len(text.encode()), text),
        )
        lot = random.Random(number).random()
        searched = (key, organization_id, project_id, corpus.USER, type_, tags, entry.keys, entry.lexemes, entry.length)
        rows.append((capsule, (*searched, entry.embedding, entry.embedding_model, lot)))
    return rows
