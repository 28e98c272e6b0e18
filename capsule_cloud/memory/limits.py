"""Owns what the memory accepts: sizes, and the words for refusing."""

from collections.abc import Sequence
from typing import Any

MAX_TURN_BYTES = 256 * 1024  # a question, or an answer, in UTF-8
MAX_TURNS = 500  # of a session; questions and answers both count
MAX_NAME_LENGTH = 255  # characters of a user id, a session id, a tag
MAX_TITLE_BYTES = 2_000
MAX_TAGS = 50
MAX_FACTS = 500  # that a caller may hand over with a seal
MAX_EXTRACTION_BYTES = 1024 * 1024  # those facts and the summary together, as JSON


class InvalidInput(Exception):
    """What was sent cannot be taken, for the reason said in words for the sender. A retry does not help."""


class TooLarge(InvalidInput):
    """What was sent is over a stated limit."""


def is_storable(value: str) -> bool:
    """Whether PostgreSQL's text can hold it: no NUL, no half of a surrogate pair."""
    if value.isascii():
        return "\x00" not in value
    try:
        return b"\x00" not in value.encode()
    except UnicodeEncodeError:
        return False


def text(name: str, value: Any, *, max_bytes: int = MAX_TURN_BYTES) -> str:
    """`value`, if it is text that can be stored within the limit; else InvalidInput or TooLarge."""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be a string")
    if not is_storable(value):
        raise InvalidInput(f"{name} must be Unicode text without NUL")
    if (len(value) if value.isascii() else len(value.encode())) > max_bytes:
        raise TooLarge(f"{name} is larger than {max_bytes} bytes")
    return value


def name(name: str, value: Any) -> str:
    """`value`, if it can be an id: text of 1 to MAX_NAME_LENGTH characters; else InvalidInput."""
    if not text(name, value):
        raise InvalidInput(f"{name} must not be empty")
    if len(value) > MAX_NAME_LENGTH:
        raise InvalidInput(f"{name} is longer than {MAX_NAME_LENGTH} characters")
    return str(value)


def title(value: Any) -> str:
    """`value`, if it can be a capsule's title; else InvalidInput or TooLarge."""
    return text("title", value, max_bytes=MAX_TITLE_BYTES)


def tags(values: Sequence[Any]) -> list[str]:
    """`values`, if they can be a capsule's tags; else InvalidInput or TooLarge."""
    if not isinstance(values, list | tuple):
        raise InvalidInput("tags must be a list of strings")
    if len(values) > MAX_TAGS:
        raise TooLarge(f"more than {MAX_TAGS} tags")
    return [name("tag", value) for value in values]
