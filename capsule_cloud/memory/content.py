"""Reads a capsule's document, whatever its type: its facts, skills and summary, and the text that search sees."""

from collections.abc import Iterator
from typing import Any

import orjson

Document = dict[str, Any]  # the engine's JSON of one capsule


def facts_of(document: Document) -> list[dict[str, Any]]:
    """The facts, as stored. What is not an object is passed over."""
    payload = document["payload"]
    memory = payload.get("memory") if document["capsule_type"] == "hybrid" else payload
    return _objects(memory.get("facts")) if isinstance(memory, dict) else []


def skills_of(document: Document) -> list[dict[str, Any]]:
    """The skills, as stored, in the engine's spelling (`skill_name` …)."""
    payload = document["payload"]
    if document["capsule_type"] == "hybrid":
        return _objects(payload.get("skills"))
    return [payload] if document["capsule_type"] == "skill" and payload.get("skill_name") else []


def summary_of(document: Document) -> str:
    """The summary as the engine's recall gives it: of a context, its first 200 characters."""
    payload = document["payload"]
    match document["capsule_type"]:
        case "hybrid":
            memory = payload.get("memory")
            return str(memory.get("context_summary", "")) if isinstance(memory, dict) else ""
        case "context":
            return str(payload.get("content", ""))[:200]
        case _:
            return str(payload.get("context_summary", payload.get("description", "")))


def text_of_fact(fact: dict[str, Any]) -> str:
    """A fact's key and value as text."""
    value = fact.get("value", "")
    return f"{fact.get('key', '')} {value if isinstance(value, str) else orjson.dumps(value, default=str).decode()}"


def text_of_skill(skill: dict[str, Any]) -> str:
    """What a skill says of itself."""
    return " ".join(
        str(skill.get(part, "")) for part in ("skill_name", "description", "trigger_pattern", "instructions")
    )


def searchable_text(document: Document) -> str:
    """All that search sees of a capsule: title, tags, summary, facts, skills, a context's content, kept raw turns."""
    return "\n".join(_texts(document))


def _texts(document: Document) -> Iterator[str]:
    payload, metadata = document["payload"], document["metadata"]
    yield metadata["title"]
    yield " ".join(metadata["tags"])
    yield metadata["description"]
    if document["capsule_type"] == "context":
        yield str(payload.get("content", ""))
    else:
        yield summary_of(document)
    for fact in facts_of(document):
        yield text_of_fact(fact)
    for skill in skills_of(document):
        yield text_of_skill(skill)
    memory = payload.get("memory", payload)
    if isinstance(memory, dict):
        for turn in _objects(memory.get("raw_turns")):
            yield str(turn.get("content", ""))


def _objects(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
