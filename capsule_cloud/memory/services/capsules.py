"""Changes capsules: deletes, pins, tags, dates their end, merges, forks. Each change is audited."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from capsule_cloud.memory import limits
from capsule_cloud.memory.engine import Capsule as EngineCapsule
from capsule_cloud.memory.engine import CapsuleStore, drive
from capsule_cloud.memory.merging import merged
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.selectors.capsules import get_capsule
from capsule_cloud.memory.services.retention import delete_sessions_of, forget_source_of
from capsule_cloud.memory.storage import TenantStorage, save_capsule
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.scope import scope, unscoped
from tenancy.webhooks.catalogue import CAPSULE_CREATED, CAPSULE_DELETED, CAPSULES_EXPIRED, USER_DELETED
from tenancy.webhooks.events import emit

MAX_MERGED = 50  # capsules at once
MAX_MERGED_BYTES = 10 * 2**20  # of their documents together: what merges make can be merged, and would double each time


@dataclass(frozen=True, slots=True)
class DeletedCapsule:
    """What went with a capsule: the raw turns that it was made of."""

    capsule_id: str
    turns: int


@dataclass(frozen=True, slots=True)
class DeletedUser:
    """How much of an end user was deleted, exactly."""

    user_id: str
    capsules: int
    sessions: int
    turns: int
    triggers: int


def target(capsule_id: str, title: str) -> Target:
    """The capsule as an audit target."""
    return Target("capsule", capsule_id, title[:200])


def delete_capsule(*, project_id: UUID, capsule_id: str, actor: Actor, user_id: str | None = None) -> DeletedCapsule:
    """Delete a capsule (with `user_id`: if it is theirs) and the raw turns it was made of. Raises CapsuleNotFound."""
    with transaction.atomic():
        capsule = get_capsule(project_id=project_id, capsule_id=capsule_id, user_id=user_id, for_update=True)
        forgotten = forget_source_of(project_id=project_id, capsule_id=capsule_id)
        capsule.delete()
        done = record(
            action=actions.MEMORY_CAPSULE_DELETED,
            actor=actor,
            target=target(capsule_id, capsule.title),
            metadata={"user_id": capsule.user_id, "turns": forgotten.turns},
        )
        emit(CAPSULE_DELETED, data={"capsule_id": capsule_id}, key=str(done.pk), project_id=project_id)
    return DeletedCapsule(capsule_id, forgotten.turns)


def delete_user(*, project_id: UUID, user_id: str, actor: Actor) -> DeletedUser:
    """Delete everything that a project remembers of an end user; the counts are exact. Raises limits.InvalidInput.

    Nothing to delete is no failure: the answer then counts zero.
    """
    limits.name("user_id", user_id)
    with transaction.atomic():
        sessions = delete_sessions_of(project_id=project_id, user_id=user_id)
        capsules, _ = Capsule.objects.filter(project_id=project_id, user_id=user_id).delete()
        deleted = DeletedUser(user_id, capsules, sessions.sessions, sessions.turns, sessions.triggers)
        done = record(
            action=actions.MEMORY_USER_DELETED,
            actor=actor,
            target=Target("end_user", user_id, user_id),
            metadata={
                "capsules": capsules,
                "sessions": sessions.sessions,
                "turns": sessions.turns,
                "triggers": sessions.triggers,
            },
        )
        told = {"user_id": user_id, "capsules": capsules}
        emit(USER_DELETED, data=told, key=str(done.pk), project_id=project_id)
    return deleted


def set_pinned(*, project_id: UUID, capsule_id: str, is_pinned: bool, actor: Actor) -> Capsule:
    """Pin a capsule, which takes away its end date, or let it go. Raises CapsuleNotFound."""
    with transaction.atomic():
        row = get_capsule(project_id=project_id, capsule_id=capsule_id, for_update=True)
        if row.is_pinned == is_pinned:
            return row
        expires_at = row.expires_at
        if is_pinned and expires_at is not None:
            _rewrite(row, lambda capsule: setattr(capsule.lifecycle, "expires_at", None))
        Capsule.objects.filter(id=row.id).update(is_pinned=is_pinned)
        action = actions.MEMORY_CAPSULE_PINNED if is_pinned else actions.MEMORY_CAPSULE_UNPINNED
        before: dict[str, Any] = {"is_pinned": not is_pinned}
        if is_pinned:
            before["expires_at"] = expires_at
        changes = action.changed(before, {"is_pinned": is_pinned})
        record(action=action, actor=actor, target=target(capsule_id, row.title), changes=changes)
        row.refresh_from_db()
    return row


def set_tags(*, project_id: UUID, capsule_id: str, tags: Sequence[str], actor: Actor) -> Capsule:
    """Replace a capsule's tags. Raises CapsuleNotFound or limits.InvalidInput."""
    wanted = list(dict.fromkeys(limits.tags(list(tags))))
    with transaction.atomic():
        row = get_capsule(project_id=project_id, capsule_id=capsule_id, for_update=True)
        if row.tags != wanted:
            before = row.tags
            _rewrite(row, lambda capsule: setattr(capsule.metadata, "tags", wanted))
            record(
                action=actions.MEMORY_CAPSULE_TAGGED,
                actor=actor,
                target=target(capsule_id, row.title),
                changes=actions.MEMORY_CAPSULE_TAGGED.changed({"tags": before}, {"tags": wanted}),
            )
            row.refresh_from_db()
    return row


def set_expiry(*, project_id: UUID, capsule_id: str, expires_at: datetime | None, actor: Actor) -> Capsule:
    """Date a capsule's end (a moment without a zone is UTC), or take the date away. From then on nobody sees it.

    Raises CapsuleNotFound, or limits.InvalidInput for a moment that has passed or a pinned capsule.
    """
    if expires_at is not None:
        expires_at = expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=UTC)
        if expires_at <= timezone.now():
            raise limits.InvalidInput("expires_at must be in the future")
    with transaction.atomic():
        row = get_capsule(project_id=project_id, capsule_id=capsule_id, for_update=True)
        if row.is_pinned and expires_at is not None:
            raise limits.InvalidInput("a pinned capsule does not expire: unpin it first")
        if row.expires_at != expires_at:
            action, before = actions.MEMORY_CAPSULE_EXPIRY_SET, row.expires_at
            _rewrite(row, lambda capsule: setattr(capsule.lifecycle, "expires_at", expires_at))
            changes = action.changed({"expires_at": before}, {"expires_at": expires_at})
            record(action=action, actor=actor, target=target(capsule_id, row.title), changes=changes)
            row.refresh_from_db()
    return row


def merge(
    *,
    project_id: UUID,
    capsule_ids: Sequence[str],
    actor: Actor,
    title: str = "",
    tags: Sequence[str] = (),
    user_id: str | None = None,
) -> Capsule:
    """A new capsule of everything in the given ones, which stay. They must all be of one end user.

    Raises CapsuleNotFound, limits.TooLarge, or limits.InvalidInput for fewer than two or those of several end users.
    """
    wanted = list(dict.fromkeys(capsule_ids))
    if not 2 <= len(wanted) <= MAX_MERGED:
        raise limits.InvalidInput(f"merge takes 2 to {MAX_MERGED} different capsules")
    limits.title(title)
    with transaction.atomic():
        rows: list[Capsule] = []
        for capsule_id in wanted:
            rows.append(get_capsule(project_id=project_id, capsule_id=capsule_id, user_id=user_id))
            if sum(row.size for row in rows) > MAX_MERGED_BYTES:
                raise limits.TooLarge(f"the capsules are larger than {MAX_MERGED_BYTES} bytes together")
        if len({row.user_id for row in rows}) > 1:
            raise limits.InvalidInput("the capsules belong to different end users: fork them to one first")
        sources = [EngineCapsule.model_validate_json(row.document) for row in rows]
        capsule = merged(sources, title=title, tags=limits.tags(list(tags)))
        save_capsule(project_id, capsule)
        record(
            action=actions.MEMORY_CAPSULE_MERGED,
            actor=actor,
            target=target(capsule.capsule_id, capsule.metadata.title),
            metadata={"sources": wanted, "user_id": rows[0].user_id},
        )
        told = {"capsule_id": capsule.capsule_id, "user_id": rows[0].user_id, "origin": "merged"}
        emit(CAPSULE_CREATED, data=told, key=f"merged:{capsule.capsule_id}", project_id=project_id)
        return get_capsule(project_id=project_id, capsule_id=capsule.capsule_id)


def fork(
    *,
    project_id: UUID,
    capsule_id: str,
    new_user_id: str,
    actor: Actor,
    new_agent_id: str | None = None,
    tags: Sequence[str] = (),
) -> Capsule:
    """A copy of a capsule for another end user of the project. Raises CapsuleNotFound or limits.InvalidInput."""
    limits.name("new_user_id", new_user_id)
    if new_agent_id is not None:
        limits.name("new_agent_id", new_agent_id)
    more = limits.tags(list(tags))
    with transaction.atomic():
        source = get_capsule(project_id=project_id, capsule_id=capsule_id)
        store = CapsuleStore(TenantStorage(project_id))
        forked = drive(store.fork(capsule_id, new_user_id, new_agent_id=new_agent_id, additional_tags=more))
        record(
            action=actions.MEMORY_CAPSULE_FORKED,
            actor=actor,
            target=target(forked.capsule_id, forked.metadata.title),
            metadata={"source": capsule_id, "from_user_id": source.user_id, "user_id": new_user_id},
        )
        told = {"capsule_id": forked.capsule_id, "user_id": new_user_id, "origin": "forked"}
        emit(CAPSULE_CREATED, data=told, key=f"forked:{forked.capsule_id}", project_id=project_id)
        return get_capsule(project_id=project_id, capsule_id=forked.capsule_id)


def purge_expired(*, limit: int = 500) -> int:
    """Delete capsules whose end has passed, of every organization, with the turns that they were made of; how many."""
    with unscoped(reason="find capsules whose end has passed") as wide:
        due = wide.rows("memory_capsules_expired", limit)
    for (organization_id, project_id), rows in groupby(due, itemgetter("organization_id", "project_id")):
        with scope(organization_id):
            names = [row["capsule_id"] for row in rows]
            expired = Capsule.objects.filter(
                project_id=project_id, capsule_id__in=names, expires_at__lte=timezone.now()
            )
            locked = expired.select_for_update().order_by("capsule_id")
            ids = list(locked.values_list("capsule_id", flat=True))
            if not ids:
                continue  # another sweep was faster, or somebody has given them more time
            turns = sum(forget_source_of(project_id=project_id, capsule_id=capsule_id).turns for capsule_id in ids)
            gone, _ = expired.filter(capsule_id__in=ids).delete()
            done = record(
                action=actions.MEMORY_CAPSULES_EXPIRED,
                actor=SYSTEM,
                target=Target("project", str(project_id), ""),
                metadata={"capsules": gone, "turns": turns},
            )
            emit(CAPSULES_EXPIRED, data={"capsule_ids": ids}, key=str(done.pk), project_id=project_id)
    return len(due)


def _rewrite(row: Capsule, change: Any) -> None:
    """Change the engine's capsule and store it again: document, columns and search entry stay of one mind."""
    capsule = EngineCapsule.model_validate_json(row.document)
    change(capsule)
    save_capsule(row.project_id, capsule)
