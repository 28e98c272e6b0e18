"""Reads capsules of one project: one, many, how many, what differs, whose they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from capsule_cloud.memory import limits
from capsule_cloud.memory.engine import Capsule as EngineCapsule
from capsule_cloud.memory.engine import CapsuleStore, drive
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.models.capsules import NEWEST_FIRST
from capsule_cloud.memory.storage import Row, TenantStorage, read_document, visible, visible_entries
from tenancy.scope import SqlCall

# Counts by the index alone, then one look for each person who is shown: the ORM would look once for each capsule.
_END_USERS = """
SELECT person.user_id, person.capsules, (
    SELECT c.sealed_at FROM memory_capsule c
     WHERE c.project_id = person.project_id AND c.user_id = person.user_id
       AND (c.expires_at IS NULL OR c.expires_at > now())
     ORDER BY c.sealed_at DESC NULLS LAST LIMIT 1
) FROM (
    SELECT e.project_id, e.user_id, count(*) AS capsules FROM memory_searchentry e
     WHERE e.project_id = %s AND starts_with(e.user_id, %s) AND (e.expires_at IS NULL OR e.expires_at > now())
     GROUP BY e.project_id, e.user_id ORDER BY capsules DESC, e.user_id LIMIT %s
) person ORDER BY person.capsules DESC, person.user_id
"""


class CapsuleNotFound(Exception):
    """The project has no such capsule, or it has expired, or it is another end user's."""

    def __init__(self, capsule_id: str) -> None:
        super().__init__(f"Capsule not found: {capsule_id}")


@dataclass(frozen=True, slots=True)
class EndUser:
    """Somebody whom the customer's product remembers."""

    user_id: str
    capsules: int
    last_sealed_at: datetime | None


def get_document(
    *, project_id: UUID, capsule_id: str, organization_id: UUID | None = None, also: Sequence[SqlCall] = ()
) -> str:
    """The engine's JSON of a capsule as it is stored, in one round trip. Raises CapsuleNotFound.

    `organization_id` is for callers without an open scope; `also` happens in the same trip, if there is such a capsule.
    """
    document = read_document(project_id, capsule_id, organization_id=organization_id, also=also)
    if document is None:
        raise CapsuleNotFound(capsule_id)
    return document


def get_capsule(*, project_id: UUID, capsule_id: str, user_id: str | None = None, for_update: bool = False) -> Capsule:
    """A capsule with its document, of one end user when given; locked when asked for. Raises CapsuleNotFound."""
    rows = visible(project_id, user_id=user_id)
    if for_update:
        rows = rows.select_for_update(no_key=True)
    capsule = rows.filter(capsule_id=capsule_id).first() if limits.is_storable(capsule_id) else None
    if capsule is None:
        raise CapsuleNotFound(capsule_id)
    return capsule


def list_capsules(
    *,
    project_id: UUID,
    user_id: str | None = None,
    capsule_type: str | None = None,
    tags: Sequence[str] = (),
    limit: int = 20,
    offset: int = 0,
) -> list[Capsule]:
    """Capsules that meet every condition, newest first, without their documents. Raises limits.InvalidInput."""
    rows = _narrowed(visible(project_id, user_id=user_id), capsule_type, tags)
    return list(rows.defer("document").order_by(NEWEST_FIRST, "capsule_id")[offset : offset + limit])


def count_capsules(
    *, project_id: UUID, user_id: str | None = None, capsule_type: str | None = None, tags: Sequence[str] = ()
) -> int:
    """How many capsules meet every condition. Raises limits.InvalidInput."""
    return _narrowed(visible_entries(project_id, user_id=user_id), capsule_type, tags).count()


def end_users(*, project_id: UUID, starts_with: str = "", limit: int = 50) -> list[EndUser]:
    """The project's end users who have capsules, those with most first. Raises limits.InvalidInput."""
    with connection.cursor() as cursor:
        cursor.execute(_END_USERS, [project_id, limits.text("user_id", starts_with), limit])
        return [EndUser(*row) for row in cursor.fetchall()]


def diff(*, project_id: UUID, capsule_id_a: str, capsule_id_b: str) -> dict[str, Any]:
    """What the second capsule has that the first has not, and so on, in the engine's shape. Raises CapsuleNotFound."""
    for capsule_id in (capsule_id_a, capsule_id_b):
        get_capsule(project_id=project_id, capsule_id=capsule_id)
    return drive(CapsuleStore(TenantStorage(project_id)).diff(capsule_id_a, capsule_id_b))


def prompt_snippet(*, project_id: UUID, capsule_id: str) -> str:
    """A capsule as text for a prompt, by the engine. Raises CapsuleNotFound."""
    document = get_document(project_id=project_id, capsule_id=capsule_id)
    return EngineCapsule.model_validate_json(document).to_prompt_snippet()


def _narrowed(rows: QuerySet[Row], capsule_type: str | None, tags: Sequence[str]) -> QuerySet[Row]:
    if capsule_type is not None:
        if capsule_type not in Capsule.Type.values:
            raise limits.InvalidInput(f"type must be one of: {', '.join(Capsule.Type.values)}")
        rows = rows.filter(capsule_type=capsule_type)
    return rows.filter(tags__contains=limits.tags(list(tags))) if tags else rows
