"""Writes the end of conversations: seals the idle, forgets raw turns in time, and deletes what an end user leaves."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from capsule_cloud.memory.models import Session, SkillTrigger, Turn
from capsule_cloud.memory.services.sessions import seal_locked, session_target
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.scope import scope, unscoped

log = logging.getLogger("memory.retention")

UNUSED_FOR = timedelta(days=1)  # an opened session without a turn


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much was deleted, exactly."""

    sessions: int
    turns: int
    triggers: int


def close_due_sessions(*, close: Callable[[UUID, UUID], object], limit: int = 100) -> int:
    """Lease sessions that are due for a look and close those that are idle; how many were looked at.

    `close` gets the organization and the session, outside any scope, and calls `close_if_idle`: a room above this one
    counts what is sealed, and may leave a session open. That one, and one that fails, is looked at again in ten
    minutes and holds up no other; the failures are raised at the end.
    """
    with unscoped(reason="find sessions that are due for a look") as wide:
        due = wide.rows("memory_sessions_due", limit)
    failures: list[Exception] = []
    for row in due:
        if not row["is_idle"]:
            continue
        try:
            close(row["organization_id"], row["session_id"])
        except Exception as failure:
            log.exception("session.close_failed session=%s", row["session_id"])
            failures.append(failure)
    if failures:
        raise ExceptionGroup("Some idle sessions could not be closed.", failures)
    return len(due)


def purge_due_turns(*, limit: int = 500) -> int:
    """Delete raw turns that are older than their projects keep them; of how many sessions."""
    with unscoped(reason="find raw turns past their project's retention") as wide:
        due = wide.rows("memory_turns_due", limit)
    purged = 0
    for (organization_id, project_id), rows in groupby(due, itemgetter("organization_id", "project_id")):
        with scope(organization_id):
            session_pks = [row["session_id"] for row in rows]
            purged += purge_turns(project_id=project_id, session_pks=session_pks, actor=SYSTEM).sessions
    return purged


def close_if_idle(*, session_pk: UUID, actor: Actor, also: Callable[[Session], object]) -> bool:
    """Seal a session that has been idle for its project's time, or delete one unused for a day; whether it was.

    `also` gets the sealed session, in the same transaction.
    """
    with transaction.atomic():
        session: Session | None = (
            Session.objects.select_for_update(no_key=True, of=("self",))
            .select_related("project")
            .filter(id=session_pk, sealed_at=None)
            .first()
        )
        if session is None:
            return False
        if session.last_turn_at is None:
            return _delete_unused(session, actor)
        if session.last_turn_at + timedelta(minutes=session.project.idle_seal_minutes) > timezone.now():
            return False  # a turn came after the sweep had seen it
        seal_locked(session, actor=actor)
        also(session)
        return True


def purge_turns(*, project_id: UUID, session_pks: Collection[UUID], actor: Actor) -> Forgotten:
    """Delete the raw turns of sealed sessions, and the previews that quote them; capsules stay."""
    with transaction.atomic():
        due = Session.objects.filter(
            project_id=project_id, id__in=session_pks, sealed_at__isnull=False, turns_purged_at=None
        ).select_for_update(no_key=True, skip_locked=True)
        keys = [session.id for session in due]
        if not keys:
            return Forgotten(0, 0, 0)
        forgotten = _forget_turns(keys)
        record(
            action=actions.MEMORY_TURNS_PURGED,
            actor=actor,
            target=Target("project", str(project_id), ""),
            metadata={"sessions": len(keys), "turns": forgotten.turns},
        )
    return forgotten


def forget_source_of(*, project_id: UUID, capsule_id: str) -> Forgotten:
    """Delete the raw turns that a capsule was made of: part of deleting it, whose caller records the event."""
    with transaction.atomic():
        made = Session.objects.filter(
            project_id=project_id, capsule_id=capsule_id, sealed_at__isnull=False
        ).select_for_update(no_key=True)
        return _forget_turns([session.id for session in made])


def delete_sessions_of(*, project_id: UUID, user_id: str) -> Forgotten:
    """Delete every session of an end user, open ones too: part of deleting the user, whose caller records the event."""
    with transaction.atomic():
        theirs = Session.objects.filter(project_id=project_id, user_id=user_id).select_for_update()
        keys = [session.id for session in theirs]
        forgotten = _forget_turns(keys)
        Session.objects.filter(id__in=keys).delete()
    return forgotten


def _forget_turns(sessions: Collection[UUID]) -> Forgotten:
    triggers, _ = SkillTrigger.objects.filter(session_id__in=sessions).delete()
    turns, _ = Turn.objects.filter(session_id__in=sessions).delete()
    marked = Session.objects.filter(id__in=sessions).update(turns_purged_at=timezone.now(), pending_trigger_count=0)
    return Forgotten(sessions=marked, turns=turns, triggers=triggers)


def _delete_unused(session: Session, actor: Actor) -> bool:
    if session.started_at + UNUSED_FOR > timezone.now():
        return False
    record(
        action=actions.MEMORY_SESSION_EXPIRED,
        actor=actor,
        target=session_target(session.external_id),
    )
    session.delete()
    return True
