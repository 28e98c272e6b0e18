"""Reads conversations: sessions, their raw turns, and the skills noticed in them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from capsule_cloud.memory import limits
from capsule_cloud.memory.models import Session, SkillTrigger, Turn

MAX_PAGE = 200


class SessionNotFound(Exception):
    """The project has no such session."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Session {session_id} not found")


class SessionState(StrEnum):
    """Which sessions a list shows."""

    OPEN = "open"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """A session as the engine describes one: turns and triggers are counted."""

    session_id: str
    user_id: str
    turn_count: int
    is_active: bool
    pending_triggers: int
    confirmed_skills: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Some sessions, newest first, and where the next page starts (None at the end)."""

    sessions: list[Session]
    after: UUID | None


def get_session(*, project_id: UUID, session_id: str, for_update: bool = False) -> Session:
    """The project's session; `for_update` locks its row until the transaction around ends. Raises SessionNotFound."""
    if not limits.is_storable(session_id):
        raise SessionNotFound(session_id)
    sessions = Session.objects.select_for_update(no_key=True) if for_update else Session.objects.all()
    session: Session | None = sessions.filter(project_id=project_id, external_id=session_id).first()
    if session is None:
        raise SessionNotFound(session_id)
    return session


def snapshot(*, project_id: UUID, session_id: str) -> SessionSnapshot:
    """The state of an open or sealed session. Raises SessionNotFound."""
    session = get_session(project_id=project_id, session_id=session_id)
    return SessionSnapshot(
        session_id=session.external_id,
        user_id=session.user_id,
        turn_count=session.turn_count,
        is_active=session.sealed_at is None,
        pending_triggers=session.pending_trigger_count,
        confirmed_skills=SkillTrigger.objects.filter(session=session, skill__isnull=False).count(),
        started_at=session.started_at,
    )


def triggers(*, project_id: UUID, session_id: str) -> list[SkillTrigger]:
    """The triggers of an open session that wait for a decision, oldest first. Raises SessionNotFound."""
    session = get_session(project_id=project_id, session_id=session_id)
    if session.sealed_at is not None or session.pending_trigger_count == 0:
        return []
    return list(SkillTrigger.objects.filter(session=session, resolution="").order_by("id"))


def pending_triggers(*, project_id: UUID, user_id: str | None = None, limit: int = MAX_PAGE) -> list[SkillTrigger]:
    """Triggers in the project's open sessions that wait for a decision, oldest first, each with its session.

    `user_id` narrows them to one end user. Raises InvalidInput.
    """
    waiting = SkillTrigger.objects.filter(
        session__project_id=project_id, session__sealed_at=None, session__pending_trigger_count__gt=0, resolution=""
    )
    if user_id is not None:
        waiting = waiting.filter(session__user_id=limits.text("user_id", user_id))
    return list(waiting.select_related("session").order_by("id")[:limit])


def list_sessions(
    *,
    project_id: UUID,
    user_id: str = "",
    state: SessionState | None = None,
    starts_with: str = "",
    after: UUID | None = None,
    limit: int = 50,
) -> SessionPage:
    """A page of the project's sessions, newest first: of one end user, in one state, with ids that start so.

    `after` is what the page before said. Raises InvalidInput.
    """
    rows = Session.objects.filter(project_id=project_id).order_by("-id")
    if user_id:
        rows = rows.filter(user_id=limits.text("user_id", user_id))
    if state is not None:
        rows = rows.filter(sealed_at__isnull=state is SessionState.OPEN)
    if starts_with:
        rows = rows.filter(external_id__startswith=limits.text("session_id", starts_with))
    if after is not None:
        rows = rows.filter(id__lt=after)
    page = list(rows[: limit + 1])
    return SessionPage(page[:limit], page[limit - 1].id if len(page) > limit else None)


def session_turns(*, project_id: UUID, session_id: str, after: int = 0, limit: int = 50) -> list[Turn]:
    """At most `limit` raw turns numbered above `after`, in order; none once they are purged. Raises SessionNotFound."""
    session = get_session(project_id=project_id, session_id=session_id)
    return list(Turn.objects.filter(session=session, number__gt=after).order_by("number")[:limit])
