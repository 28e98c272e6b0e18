"""Owns what the engine does with a conversation: notices skills in it and makes its capsule."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from pydantic import ValidationError

from capsule_cloud.memory.engine import (
    BaseStorage,
    Capsule,
    ConversationTurn,
    MemoryExtractor,
    MemoryFact,
    MemoryPayload,
    SessionConfig,
    SessionTracker,
    SkillDetector,
    SkillDraft,
    SkillRefiner,
    SkillTriggerRule,
    drive,
    silent_notifier,
)
from capsule_cloud.memory.limits import MAX_EXTRACTION_BYTES, MAX_FACTS, InvalidInput, TooLarge
from capsule_cloud.memory.models import Session, SkillTrigger

LOOK_BACK = 9  # answers: the engine compares with its last 20 turns, of which two are the new pair
UNNUMBERED = 0  # the database numbers the turn; "(Turn 0)" in a name becomes the real number there

# Stateless, all three.
_detector = SkillDetector()
_extractor = MemoryExtractor()
_refiner = SkillRefiner()
_nul = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # as JSON writes it: a backslash that is not itself escaped
_numbered_step = re.compile(r"(?:^|\n)\d+\. .")


@dataclass(slots=True)
class _Said:
    """A turn as the engine's rules read it: its own model takes 10 µs to make, twice for each turn."""

    turn_id: int
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class NoticedSkill:
    """What the engine noticed in a turn that has no number yet."""

    rule: str
    suggested_name: str
    confidence: float
    preview: str


def looks_back(answer: str) -> bool:
    """Whether earlier answers can matter to `notice_skill`: only repeated code or numbered steps are compared."""
    return "```" in answer or _numbered_step.search(answer) is not None


def notice_skill(question: str, answer: str, earlier_answers: Sequence[str] = ()) -> NoticedSkill | None:
    """The skill that the engine's first matching rule sees in the pair; the same input gives the same answer."""
    said: list[Any] = [_Said(-1, "assistant", earlier) for earlier in earlier_answers[-LOOK_BACK:]]
    said += [_Said(UNNUMBERED, "user", question), _Said(UNNUMBERED, "assistant", answer)]
    event = drive(_detector.check(said[-1], said))
    if event is None:
        return None
    draft = event.skill_draft
    return NoticedSkill(draft.trigger_rule.value, draft.suggested_name, draft.confidence, draft.preview)


def extract_skill(trigger: SkillTrigger, answer: str, session_id: str) -> dict[str, Any]:
    """The engine's skill payload for a trigger, from the answer that it was noticed in."""
    draft = SkillDraft(
        suggested_name=trigger.suggested_name,
        confidence=trigger.confidence,
        preview=trigger.preview,
        trigger_rule=SkillTriggerRule(trigger.rule),
        source_turns=[trigger.turn_number],
    )
    turns = [
        ConversationTurn(turn_id=trigger.turn_number, role="assistant", content=answer, timestamp=trigger.created_at)
    ]
    payload: dict[str, Any] = drive(_refiner.refine(draft, turns, session_id)).model_dump(mode="json")
    return payload


def extracted_by_host(facts: Sequence[Any], summary: Any) -> MemoryPayload | None:
    """What the caller's own language model found, as the engine holds it; None when it found nothing.

    Raises InvalidInput, TooLarge.
    """
    if not facts and not summary:
        return None
    if not isinstance(facts, list | tuple) or not all(isinstance(fact, dict) for fact in facts):
        raise InvalidInput("facts must be a list of objects with key and value")
    if len(facts) > MAX_FACTS:
        raise TooLarge(f"more than {MAX_FACTS} facts")
    try:
        size = len(encoded := orjson.dumps([facts, summary]))
        memory_facts = [_fact(n, fact) for n, fact in enumerate(facts)]
        payload = MemoryPayload(facts=memory_facts, context_summary=summary or "")
    except orjson.JSONEncodeError as error:
        raise InvalidInput("facts and summary must be JSON in valid Unicode") from error
    except ValidationError as error:
        problem = error.errors()[0]
        raise InvalidInput(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error
    if size > MAX_EXTRACTION_BYTES:
        raise TooLarge(f"facts and summary are larger than {MAX_EXTRACTION_BYTES} bytes")
    if _nul.search(encoded):
        raise InvalidInput("facts and summary must not contain NUL")
    return payload


def make_capsule(
    session: Session,
    turns: Iterable[tuple[int, str, str, datetime]],
    resolved: Iterable[SkillTrigger],
    storage: BaseStorage,
    *,
    title: str,
    tags: Sequence[str],
    extracted: MemoryPayload | None,
) -> Capsule:
    """Seal the conversation with the engine's own tracker, which saves the capsule in `storage`.

    Turns are (number, role, content, said at). `extracted` is what the caller's language model found; without it the
    engine's rules find something.
    """
    config = SessionConfig(
        user_id=session.user_id,
        session_id=session.external_id,
        agent_id=session.agent_id or None,
        origin_platform=session.origin_platform,
        auto_seal_on_exit=False,
    )
    tracker = SessionTracker(config, storage, _extractor, _detector, silent_notifier, _refiner, None)
    state = tracker.state
    state.started_at = session.started_at
    state.turns = [
        ConversationTurn.model_construct(turn_id=number, role=role, content=content, timestamp=said_at, tokens=0)
        for number, role, content, said_at in turns
    ]
    for trigger in resolved:
        if trigger.skill is not None:
            state.confirmed_skill_payloads.append(trigger.skill)
        elif trigger.resolution == SkillTrigger.Resolution.MERGE_MEMORY:
            state.extra_context += "\n" + trigger.preview
    return drive(tracker.seal(title=title, tags=list(tags), pre_extracted=extracted))


def _fact(n: int, fact: dict[str, Any]) -> MemoryFact:
    return MemoryFact(
        key=fact.get("key", f"fact.{n}"),
        value=fact.get("value", ""),
        confidence=fact.get("confidence", 0.9),
        category=fact.get("category", "other"),
        source_turn=n,
    )
