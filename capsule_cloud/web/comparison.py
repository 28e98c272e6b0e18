"""Lays out what differs between two capsules: line by line, with the words that changed marked."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice
from typing import Any

import orjson

from capsule_cloud.memory import content

PIECES_MATCHED = 400  # words and signs; in longer texts none are marked, for matching takes their lengths' product
LINES_SHOWN = 200  # of facts, and of skills
Difference = tuple[str, str | None, str | None]  # name, before, after; None where it is not there
_PIECE = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Words:
    """Some words of a text, and whether the other side has others."""

    text: str
    is_changed: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A fact, a skill or the summary on both sides; None where it is not there."""

    name: str
    before: list[Words] | None
    after: list[Words] | None

    @property
    def kind(self) -> str:
        """What happened to it: added, removed or changed."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


@dataclass(frozen=True, slots=True)
class Part:
    """The lines of one kind that differ, at most LINES_SHOWN of them, and how many there are and are not shown."""

    title: str
    lines: list[Line]
    unshown: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs, and how many facts do not."""

    parts: list[Part]
    same_facts: int


def compared(found: dict[str, Any], before: str, after: str) -> Comparison:
    """The engine's comparison laid out, with what it leaves to its reader: skills of one name, texts side by side.

    `before` and `after` are the documents of the two capsules.
    """
    old, new = orjson.loads(before), orjson.loads(after)
    parts = [
        _part("Summary", _summaries(old, new)),
        _part("Facts", _facts(found)),
        _part("Skills", _skills(found, old, new)),
    ]
    keys = {str(fact.get("key", "")) for fact in content.facts_of(old)}
    same = len(keys) - len(found["removed_facts"]) - len(found["modified_facts"])
    return Comparison([part for part in parts if part.lines], same)


def text_of(value: object) -> str:
    """A fact's value for people."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _part(title: str, differences: Iterable[Difference]) -> Part:
    rest = iter(differences)
    lines = [_line(*one) for one in islice(rest, LINES_SHOWN)]
    return Part(title, lines, sum(1 for _ in rest))


def _line(name: str, before: str | None, after: str | None) -> Line:
    if before is None or after is None:
        return Line(name, *(None if text is None else _whole(text) for text in (before, after)))
    return Line(name, *_matched(before, after))


def _facts(found: dict[str, Any]) -> Iterator[Difference]:
    for fact in found["modified_facts"]:
        yield str(fact["key"]), text_of(fact["old_value"]), text_of(fact["new_value"])
    for fact in found["added_facts"]:
        yield str(fact.get("key", "")), None, text_of(fact.get("value"))
    for fact in found["removed_facts"]:
        yield str(fact.get("key", "")), text_of(fact.get("value")), None


def _skills(found: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> Iterator[Difference]:
    earlier = {str(skill.get("skill_name", "")): _instructions(skill) for skill in content.skills_of(old)}
    later = {str(skill.get("skill_name", "")): _instructions(skill) for skill in content.skills_of(new)}
    for name, text in earlier.items():
        if later.get(name, text) != text:
            yield name, text, later[name]
    for skill in found["added_skills"]:
        yield str(skill.get("skill_name", "")), None, _instructions(skill)
    for name in found["removed_skills"]:
        yield str(name), earlier.get(name, ""), None


def _summaries(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Difference]:
    before, after = _summary(old), _summary(new)
    if before != after:
        yield "", before or None, after or None


def _matched(before: str, after: str) -> tuple[list[Words], list[Words]]:
    old, new = _PIECE.findall(before), _PIECE.findall(after)
    if max(len(old), len(new)) > PIECES_MATCHED:
        return _whole(before), _whole(after)
    blocks = SequenceMatcher(str.isspace, old, new, autojunk=False)
    left, right = [], []
    for tag, a, b, c, d in blocks.get_opcodes():
        left.append(Words("".join(old[a:b]), tag != "equal"))
        right.append(Words("".join(new[c:d]), tag != "equal"))
    return [words for words in left if words.text], [words for words in right if words.text]


def _whole(text: str) -> list[Words]:
    return [Words(text, is_changed=False)]


def _summary(document: dict[str, Any]) -> str:
    if document["capsule_type"] == "context":  # of which `summary_of` gives the beginning
        return str(document["payload"].get("content", ""))
    return content.summary_of(document)


def _instructions(skill: dict[str, Any]) -> str:
    return str(skill.get("instructions") or skill.get("description", ""))
