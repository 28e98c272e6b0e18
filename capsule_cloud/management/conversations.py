"""The conversations that come with the product: what the demonstration sends, and what it asks afterwards."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("conversations.json")


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a person said and what the assistant answered."""

    user: str
    assistant: str


@dataclass(frozen=True, slots=True)
class Question:
    """Something that the conversation's person asks later; `answer` is in what a right recall brings."""

    ask: str
    answer: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One session of one end user. `facts` and `summary` are what a language model of the host found, if it has one."""

    session_id: str
    user_id: str
    about: str
    title: str
    tags: list[str]
    turns: list[Exchange]
    facts: list[dict[str, Any]]
    summary: str
    questions: list[Question]


def bundled() -> list[Conversation]:
    """All of them, in the order in which they took place."""
    return [
        Conversation(
            **kept
            | {
                "turns": [Exchange(**turn) for turn in kept["turns"]],
                "questions": [Question(**question) for question in kept["questions"]],
            }
        )
        for kept in json.loads(FILE.read_text(encoding="utf-8"))
    ]
