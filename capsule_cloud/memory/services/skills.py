"""Writes skills that somebody describes in their own words, without a conversation that they come from."""

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from capsule_cloud.memory import limits
from capsule_cloud.memory.engine import CapsuleBuilder, SessionConfig, SkillPayload
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.selectors.capsules import get_capsule
from capsule_cloud.memory.storage import save_capsule
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record

SESSION = "manual_extract"  # the engine's word for no session at all
NAME_FROM = 50  # characters of the description that name a skill without a name


def create_skill(
    *, project_id: UUID, user_id: str, description: str, name: str = "", tags: Sequence[str] = (), actor: Actor
) -> Capsule:
    """A skill capsule of one end user. `description` says what it is for, when it applies and how it is done.

    Raises limits.InvalidInput or limits.TooLarge.
    """
    limits.name("user_id", user_id)
    if not limits.text("skill_description", description).strip():
        raise limits.InvalidInput("skill_description must not be empty")
    name = limits.title(name.strip() or " ".join(description[:NAME_FROM].split()))
    skill = SkillPayload(
        skill_name=name, trigger_pattern=description, description=description, instructions=description
    )
    config = SessionConfig(user_id=user_id, session_id=SESSION)
    capsule = CapsuleBuilder.build_skill(config, skill, tags=limits.tags(list(tags)))
    with transaction.atomic():
        save_capsule(project_id, capsule)
        record(
            action=actions.MEMORY_SKILL_CREATED,
            actor=actor,
            target=Target("capsule", capsule.capsule_id, name[:200]),
            metadata={"user_id": user_id},
        )
        return get_capsule(project_id=project_id, capsule_id=capsule.capsule_id)
