"""Makes capsules that look like real ones, always the same: facts from templates, words of Zipf's frequencies."""

import importlib.util
import itertools
import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from capsule_memory.core.builder import CapsuleBuilder
from capsule_memory.core.session import SessionConfig
from capsule_memory.models.capsule import Capsule
from capsule_memory.models.memory import MemoryFact, MemoryPayload

SEED = 20_261_124
USER = "dana"
FACTS = 6
FIRST_SEALED = datetime(2026, 1, 1, tzinfo=UTC)
TAGS = ("billing", "kitchen", "launch", "migration", "onboarding", "research", "support", "travel")
CATEGORIES = ("technical_preference", "project_info", "user_preference", "decision", "constraint", "other")
TEMPLATES = (
    "{0} is the {1} that the {2} team uses for {3}, since the {4} {5} last spring.",
    "We decided to move {0} {1} to the {2} {3} before the {4} {5} ends.",
    "Prefers {0} {1} over {2} when the {3} has a {4}, and never {5} on Fridays.",
    "The customer {0} asked whether {1} {2} can be delivered to {3} with {4} {5}.",
    "Remember that {0} must not exceed the {1} {2}: the {3} breaks {4} and {5}.",
    "Their {0} runs on {1} with {2}; {3} {4} is planned after the {5} review.",
    "Asked about {0}: the answer was {1} {2}, because {3} depends on {4} and {5}.",
    "Travels to {0} every {1} for {2}, stays near the {3} {4}, likes {5}.",
)


@dataclass(frozen=True, slots=True)
class Example:
    """One capsule of the corpus: the engine's own document, and what a search for it would ask."""

    capsule: Capsule
    query: str


@cache
def vocabulary() -> list[str]:
    """Words in the order of their frequency: those that a tokenizer for real text learned, most frequent first."""
    spec = importlib.util.find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise RuntimeError("wordllama is not installed: run `make venv`.")
    path = Path(spec.origin).parent / "tokenizers" / "l2_supercat_tokenizer_config.json"
    tokens: dict[str, int] = json.loads(path.read_text())["model"]["vocab"]
    ranked = (token[1:] for token, _ in sorted(tokens.items(), key=lambda item: item[1]) if token.startswith("▁"))
    roots = [word for word in ranked if word.isascii() and word.isalpha() and word.islower() and len(word) > 3]
    # Names and compounds make the long tail that real text has.
    tail = [f"{first}{second}" for first, second in zip(roots[200:6200], roots[::-1], strict=False)]
    return roots + tail


def example(number: int) -> Example:
    """The capsule with this number, the same in every process."""
    dice = random.Random(SEED * 1_000_003 + number)
    words, weights = vocabulary(), _weights()
    drawn = dice.choices(words, cum_weights=weights, k=FACTS * 6 + 3)
    return Example(_capsule(number, drawn, dice), _query(drawn, dice))


@cache
def _weights() -> list[float]:
    return list(itertools.accumulate(1 / (rank + 10) for rank in range(len(vocabulary()))))


def _capsule(number: int, drawn: list[str], dice: random.Random) -> Capsule:
    facts = []
    for index in range(FACTS):
        six = drawn[index * 6 : index * 6 + 6]
        value = dice.choice(TEMPLATES).format(*six)
        category = CATEGORIES[(number + index) % len(CATEGORIES)]
        facts.append(
            MemoryFact(key=f"{six[0]}.{six[1]}", value=value, confidence=0.9, category=category, source_turn=index)  # type: ignore[arg-type]
        )
    title = " ".join(word.capitalize() for word in drawn[-3:])
    summary = f"Talked about {title.lower()}: {facts[0].value} {facts[1].value}"
    capsule = CapsuleBuilder.build_hybrid(
        SessionConfig(user_id=USER, session_id=f"sess_{number:012d}", origin_platform="bench"),
        MemoryPayload(facts=facts, context_summary=summary),
        [],
        title=title,
        tags=dice.sample(TAGS, 2),
    )
    capsule.capsule_id = capsule_id(number)
    capsule.lifecycle.sealed_at = FIRST_SEALED + timedelta(minutes=number)
    capsule.metadata.turn_count = 2 * FACTS
    return capsule


def _query(drawn: list[str], dice: random.Random) -> str:
    fact = dice.randrange(FACTS)
    return " ".join(dice.sample(drawn[fact * 6 : fact * 6 + 6], 3))


def capsule_id(number: int) -> str:
    """The id of the capsule with this number, in the engine's form."""
    return f"cap_20260101_4240_{number:012d}"


def queries(corpus_size: int, count: int = 400) -> list[str]:
    """Three words of a fact of each of up to `count` capsules, spread over the corpus."""
    return [example(number).query for number in range(0, corpus_size, max(1, corpus_size // count))]
