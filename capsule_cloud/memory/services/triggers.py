"""Writes what a customer decides about the skills that were noticed in an open session."""

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from capsule_cloud.memory import conversation
from capsule_cloud.memory.limits import InvalidInput
from capsule_cloud.memory.models import Session, SkillTrigger, Turn
from capsule_cloud.memory.services.sessions import SessionSealed, locked_session, session_target
from tenancy.audit import actions
from tenancy.audit.services import Actor, record

Resolution = SkillTrigger.Resolution
_EXTRACTING = {Resolution.EXTRACT_SKILL, Resolution.EXTRACT_HYBRID}


class TriggerNotFound(Exception):
    """The session has no such trigger."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"Event {event_id} not found")


def resolve(*, project_id: UUID, session_id: str, event_id: str, resolution: str, actor: Actor) -> SkillTrigger:
    """Decide what becomes of a trigger; until the seal the decision can be changed, and repeating it changes nothing.

    extract_skill and extract_hybrid put a skill into the session's capsule, merge_memory the preview into its summary,
    ignore nothing, and never also silences the rule for the rest of the session.
    Raises InvalidInput for another resolution, SessionNotFound, TriggerNotFound, SessionSealed.
    """
    if resolution not in Resolution.values:
        allowed = ", ".join(Resolution.values)
        raise InvalidInput(f"Invalid resolution: {resolution}. Must be one of: {allowed}")
    with transaction.atomic():
        session = locked_session(project_id=project_id, session_id=session_id)
        trigger = _find(session, event_id)
        if session.sealed_at is not None:
            raise SessionSealed(session_id)
        if trigger.resolution == resolution:
            return trigger
        if not trigger.resolution:
            session.pending_trigger_count -= 1
            session.save(update_fields=["pending_trigger_count"])
        changes = actions.MEMORY_TRIGGER_RESOLVED.change(trigger, {"resolution": resolution})
        trigger.resolved_at = timezone.now()
        trigger.skill = _skill(session, trigger) if resolution in _EXTRACTING else None
        trigger.save(update_fields=["resolution", "resolved_at", "skill"])
        record(
            action=actions.MEMORY_TRIGGER_RESOLVED,
            actor=actor,
            target=session_target(session_id),
            metadata={"event_id": event_id},
            changes=changes,
        )
    return trigger


def dismiss(*, project_id: UUID, session_id: str, event_id: str, actor: Actor) -> SkillTrigger:
    """Decide that nothing becomes of a trigger. Raises SessionNotFound, TriggerNotFound, SessionSealed."""
    return resolve(
        project_id=project_id, session_id=session_id, event_id=event_id, resolution=Resolution.IGNORE, actor=actor
    )


def _find(session: Session, event_id: str) -> SkillTrigger:
    try:
        key = UUID(event_id.removeprefix("evt_"))
    except ValueError:
        raise TriggerNotFound(event_id) from None
    trigger: SkillTrigger | None = SkillTrigger.objects.filter(session=session, id=key).first()
    if trigger is None:
        raise TriggerNotFound(event_id)
    return trigger


def _skill(session: Session, trigger: SkillTrigger) -> dict[str, object]:
    answer = Turn.objects.get(session=session, number=trigger.turn_number)
    return conversation.extract_skill(trigger, answer.content, session.external_id)
