"""Merges capsules without losing anything: the engine's own merge drops skills, contexts and facts of equal keys."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from capsule_cloud.memory.content import facts_of, skills_of, summary_of
from capsule_cloud.memory.engine import (
    Capsule,
    CapsuleIdentity,
    CapsuleLifecycle,
    CapsuleMetadata,
    CapsuleStatus,
    CapsuleType,
)

NUMBERED_KEY = "conversation.turn_"  # what the engine's rules call a fact: equal keys are not the same fact


def merged(sources: Sequence[Capsule], *, title: str, tags: Sequence[str]) -> Capsule:
    """A new capsule of the sources' end user: the most confident fact of each key, the last skill of each name.

    As the engine's merge, except that several skills without facts make a hybrid, contexts keep all their text, and
    facts that the engine's rules numbered in different capsules all stay.
    """
    documents = [source.model_dump(mode="json") for source in sources]
    facts = _facts(documents)
    skills = list(
        {
            skill["skill_name"]: skill
            for document in documents
            for skill in skills_of(document)
            if skill.get("skill_name")
        }.values()
    )
    summaries = [text for document in documents if (text := _whole_summary(document))]
    memory = {
        "facts": facts,
        "context_summary": "\n---\n".join(summaries),
        "entities": {},
        "timeline": [],
        "raw_turns": [],
    }
    payload: dict[str, Any]
    if skills and (facts or len(skills) > 1):
        kind, payload = CapsuleType.HYBRID, {"memory": memory, "skills": skills}
    elif skills:
        kind, payload = CapsuleType.SKILL, dict(skills[0])
    else:
        kind, payload = CapsuleType.MEMORY, memory
    capsule = Capsule(
        capsule_type=kind,
        identity=CapsuleIdentity(
            user_id=sources[0].identity.user_id,
            session_id=f"merged_{uuid4().hex[:8]}",
            origin_platform="capsule-merge",
        ),
        lifecycle=CapsuleLifecycle(status=CapsuleStatus.SEALED, sealed_at=datetime.now(UTC)),
        metadata=CapsuleMetadata(
            title=title or f"Merged: {sources[0].capsule_id[:8]}",
            tags=list(dict.fromkeys([*tags, *(tag for source in sources for tag in source.metadata.tags)])),
            turn_count=sum(source.metadata.turn_count for source in sources),
        ),
        payload=payload,
    )
    capsule.integrity.checksum = capsule.compute_checksum()
    return capsule


def _facts(documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    best: dict[Any, dict[str, Any]] = {}
    for number, document in enumerate(documents):
        for fact in facts_of(document):
            name = str(fact.get("key", ""))
            identity = (number, name) if name.startswith(NUMBERED_KEY) else name
            rival = best.get(identity)
            if rival is None or _confidence(fact) > _confidence(rival):
                best[identity] = fact
    return list(best.values())


def _confidence(fact: dict[str, Any]) -> float:
    value = fact.get("confidence", 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def _whole_summary(document: dict[str, Any]) -> str:
    if document["capsule_type"] == "context":
        return str(document["payload"].get("content", ""))
    return summary_of(document)
