"""The engine's storage on PostgreSQL: one instance sees one project of the organization in scope, and nothing else."""

import builtins
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import orjson
import uuid_utils.compat as uuid_utils
from django.db import DatabaseError
from django.db.models import Q, QuerySet
from django.utils import timezone

from capsule_cloud.memory import entries, limits, search
from capsule_cloud.memory.engine import Capsule, CapsuleStatus, CapsuleType, LocalStorage, StorageError
from capsule_cloud.memory.models import Capsule as CapsuleRow
from capsule_cloud.memory.models import SearchEntry
from capsule_cloud.memory.models.capsules import NEWEST_FIRST
from tenancy.scope import SqlCall, current_organization_id, one_trip

Row = TypeVar("Row", CapsuleRow, SearchEntry)


class TenantStorage(LocalStorage):
    """The engine's `BaseStorage` for one project; its methods never wait, so `engine.drive` runs them.

    From the engine's file storage it inherits export and import, which only use `get` and `save`; it has no folder.
    """

    def __init__(self, project_id: UUID) -> None:
        self.project_id = project_id

    async def save(self, capsule: Capsule) -> str:
        """Store a capsule, again if its id is known here. Raises StorageError."""
        try:
            save_capsule(self.project_id, capsule)
        except (limits.InvalidInput, DatabaseError) as error:
            raise StorageError(f"Failed to save capsule {capsule.capsule_id!r}: {error}") from error
        return capsule.capsule_id

    async def get(self, capsule_id: str) -> Capsule | None:
        """The project's capsule, or None."""
        document = read_document(self.project_id, capsule_id)
        return None if document is None else Capsule.model_validate_json(document)

    async def delete(self, capsule_id: str) -> bool:
        """Remove a capsule; False when there is none."""
        if not limits.is_storable(capsule_id):
            return False
        deleted, _ = visible(self.project_id).filter(capsule_id=capsule_id).delete()
        return deleted > 0

    async def list(
        self,
        user_id: str | None = None,
        capsule_type: CapsuleType | None = None,
        tags: builtins.list[str] | None = None,
        status: CapsuleStatus | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> builtins.list[Capsule]:
        """Capsules that meet every condition, newest first; all of them can be reached."""
        rows = visible(self.project_id, user_id=user_id)
        if capsule_type:
            rows = rows.filter(capsule_type=capsule_type.value)
        if status:
            rows = rows.filter(status=status.value)
        if tags:
            rows = rows.filter(tags__contains=tags)
        documents = rows.order_by(NEWEST_FIRST, "capsule_id").values_list("document", flat=True)
        return [Capsule.model_validate_json(document) for document in documents[offset : offset + limit]]

    async def search(
        self, query: str, user_id: str | None = None, top_k: int = 5
    ) -> builtins.list[tuple[Capsule, float]]:
        """The best matches among all the project's (or the user's) capsules; 1.0 means that every word matched."""
        found = search.find(current_organization_id(), self.project_id, query, user_id=user_id, top_k=top_k)
        return [(Capsule.model_validate_json(hit.document), hit.coverage) for hit in found.hits]

    async def count(self, user_id: str | None = None) -> int:
        """How many capsules there are."""
        return visible_entries(self.project_id, user_id=user_id).count()


def visible(project_id: UUID, *, user_id: str | None = None) -> QuerySet[CapsuleRow]:
    """The project's capsules that have not expired; of one end user when given."""
    return _visible(CapsuleRow, project_id, user_id)


def visible_entries(project_id: UUID, *, user_id: str | None = None) -> QuerySet[SearchEntry]:
    """The search entries of those capsules: an index alone answers who has how many of which type."""
    return _visible(SearchEntry, project_id, user_id)


def _visible(model: type[Row], project_id: UUID, user_id: str | None) -> QuerySet[Row]:
    rows = model._default_manager.filter(project_id=project_id)
    rows = rows.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    if user_id is None:
        return rows
    return rows.filter(user_id=user_id) if limits.is_storable(user_id) else rows.none()


def save_capsule(project_id: UUID, capsule: Capsule) -> bool:
    """Store the capsule in the project; True when it is new there. Raises limits.InvalidInput."""
    identity, lifecycle, metadata = capsule.identity, capsule.lifecycle, capsule.metadata
    user_id = limits.name("user_id", identity.user_id)
    try:
        document = capsule.model_dump_json()
    except ValueError as error:  # half of a surrogate pair, or nested too deep
        raise limits.InvalidInput("the capsule cannot be written as JSON") from error
    entry = entries.make(project_id, user_id, orjson.loads(document))
    call = SqlCall(
        "memory_save",
        (
            project_id,
            uuid_utils.uuid7(),
            limits.name("capsule_id", capsule.capsule_id),
            user_id,
            limits.name("session_id", identity.session_id),
            limits.name("agent_id", identity.agent_id) if identity.agent_id else "",
            limits.name("origin_platform", identity.origin_platform or "unknown"),
            capsule.capsule_type.value,
            lifecycle.status.value,
            limits.text("title", metadata.title),
            [limits.text("tag", tag) for tag in metadata.tags],
            _count("turn_count", metadata.turn_count),
            _moment("created_at", lifecycle.created_at),
            _moment("sealed_at", lifecycle.sealed_at),
            _moment("expires_at", lifecycle.expires_at),
            document,
            entry.keys,
            entry.lexemes,
            entry.length,
            entry.embedding,
            entry.embedding_model,
        ),
    )
    return bool(one_trip(current_organization_id(), call)[0][0])


def read_document(
    project_id: UUID, capsule_id: str, *, organization_id: UUID | None = None, also: Sequence[SqlCall] = ()
) -> str | None:
    """The engine's JSON of the project's capsule, or None. One round trip; `organization_id` when no scope is open.

    `also` happens in the same trip, if there is such a capsule.
    """
    if not limits.is_storable(capsule_id):
        return None
    get = SqlCall("memory_get", (project_id, capsule_id))
    rows = one_trip(organization_id or current_organization_id(), get, *also)
    return str(rows[0][0]) if rows else None


def _moment(name: str, value: datetime | None) -> datetime | None:
    """In UTC; the engine makes naive moments too, and they mean UTC."""
    if value is None:
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as error:  # the year 10000 somewhere west of Greenwich
        raise limits.InvalidInput(f"{name} is out of range") from error


def _count(name: str, value: int) -> int:
    if not 0 <= value < 2**31:
        raise limits.InvalidInput(f"{name} is out of range")
    return value
