"""Reads capsule files that strangers made: checks everything before the engine builds a capsule of it."""

import itertools
import json
import math
import re
from typing import Any, NoReturn

import msgpack
from cryptography.fernet import InvalidToken
from pydantic import ValidationError

from capsule_cloud.memory import limits
from capsule_cloud.memory.engine import (
    UNIVERSAL_SCHEMA,
    Capsule,
    CapsuleCrypto,
    CapsuleError,
    CapsuleIdentity,
    CapsuleMetadata,
    CapsuleType,
    validate_capsule,
    validate_universal_memory,
    verify_checksum,
)

MAX_IMPORT_BYTES = 10 * 2**20
MAX_DEPTH = 64  # of nested objects and lists
MAX_CONTAINERS = 500_000  # objects and lists: 10 MiB of empty ones would be 1.4 GiB in memory
TOO_MANY = f"the file has more than {MAX_CONTAINERS} objects and lists"
CAPSULE_ID = re.compile(r"cap_[A-Za-z0-9_]{4,64}")


class UnreadableCapsule(limits.InvalidInput):
    """The file is no capsule, or not an intact one."""


def read(filename: str, content: bytes, *, user_id: str, passphrase: str = "") -> Capsule:
    """The capsule in a file: msgpack (`.capsule`), plain text (`.txt`), else JSON, of the engine or universal.

    Its checksum has been verified; it belongs to `user_id`, its id is not yet made unique. Raises UnreadableCapsule,
    limits.TooLarge or limits.InvalidInput.
    """
    if len(content) > MAX_IMPORT_BYTES:
        raise limits.TooLarge(f"the file is larger than {MAX_IMPORT_BYTES} bytes")
    if not content:
        raise UnreadableCapsule("the file is empty")
    suffix = filename.rsplit(".", 1)[-1].lower() if "." in filename else ""
    if suffix == "txt":
        return _context(filename, content, user_id)
    data = _msgpack(content) if suffix in {"capsule", "msgpack"} else _json(content)
    if not isinstance(data, dict):
        raise UnreadableCapsule("the file holds no capsule: expected an object")
    _check_values(data)
    try:
        if data.get("schema") == UNIVERSAL_SCHEMA:
            return _universal(data, user_id)
        return _native(data, user_id, passphrase)
    except (UnicodeError, RecursionError) as error:
        raise UnreadableCapsule("the file holds text that is not Unicode") from error


def _json(content: bytes) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise UnreadableCapsule(f"the file is not JSON: {constant} is no JSON number")

    if content.count(b"{") + content.count(b"[") > MAX_CONTAINERS:
        raise limits.TooLarge(TOO_MANY)
    try:
        return json.loads(content.decode(), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise UnreadableCapsule("the file is not JSON") from error


def _msgpack(content: bytes) -> Any:
    """Lengths that the file only claims are refused by the parser: they cannot exceed the bytes that are there."""
    number = itertools.count(1)

    def counted(container: Any) -> Any:
        if next(number) > MAX_CONTAINERS:
            raise limits.TooLarge(TOO_MANY)
        return container

    try:
        data = msgpack.unpackb(content, raw=False, strict_map_key=True, object_hook=counted, list_hook=counted)
        return json.loads(json.dumps(data, allow_nan=False))  # only what JSON can say
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise UnreadableCapsule("the file is not a msgpack capsule") from error


def _check_values(data: Any) -> None:
    """Neither bottomless nor endless: 1e999 is JSON, and infinite."""
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise UnreadableCapsule(f"the file is nested deeper than {MAX_DEPTH} levels")
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
            elif isinstance(value, float) and not math.isfinite(value):
                raise UnreadableCapsule("the file holds a number that is not finite")
        level = inner


def _native(data: dict[str, Any], user_id: str, passphrase: str) -> Capsule:
    try:
        capsule = Capsule.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableCapsule(f"the file is no capsule: {where}: {first['msg']}") from error
    is_valid, errors = validate_capsule(data)
    if not is_valid:
        raise UnreadableCapsule(f"the file is no capsule: {errors[0]}")
    if not CAPSULE_ID.fullmatch(capsule.capsule_id):
        raise UnreadableCapsule("the file's capsule_id is not one that a capsule can have")
    if capsule.integrity.encrypted:
        capsule = _decrypted(capsule, passphrase)
    elif not verify_checksum(data):
        raise UnreadableCapsule("the file has been changed since it was exported: its checksum does not match")
    _check_payload(capsule)
    capsule.identity.user_id = user_id
    return capsule


def _decrypted(capsule: Capsule, passphrase: str) -> Capsule:
    if not passphrase:
        raise UnreadableCapsule("the file is encrypted: its passphrase is needed")
    if not capsule.integrity.pre_encrypt_checksum:
        raise UnreadableCapsule("the encrypted file has no checksum")
    try:
        return CapsuleCrypto.decrypt(capsule, passphrase)
    except InvalidToken as error:
        raise UnreadableCapsule("the passphrase is wrong, or the file has been changed") from error
    except (CapsuleError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableCapsule("the encrypted file is damaged") from error


def _universal(data: dict[str, Any], user_id: str) -> Capsule:
    is_valid, errors = validate_universal_memory(data)
    if not is_valid:
        raise UnreadableCapsule(f"the file is no universal memory: {errors[0]}")
    for field, kind in (("title", str), ("summary", str), ("origin", str), ("tags", list)):
        if not isinstance(data.get(field, kind()), kind):
            raise UnreadableCapsule(f"the file is no universal memory: {field} is not a {kind.__name__}")
    if not all(isinstance(item, dict) for field in ("facts", "skills") for item in data.get(field, [])):
        raise UnreadableCapsule("the file is no universal memory: facts and skills are objects")
    try:
        capsule = Capsule.from_universal_memory(data, user_id)
    except (CapsuleError, ValidationError) as error:
        raise UnreadableCapsule("the file is no universal memory") from error
    _check_payload(capsule)
    return capsule


def _context(filename: str, content: bytes, user_id: str) -> Capsule:
    """Plain text becomes a context, titled by the file's name without its folder."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UnreadableCapsule("the file is not UTF-8 text") from error
    name = re.split(r"[/\\]", filename)[-1].rsplit(".", 1)[0]
    return Capsule(
        capsule_type=CapsuleType.CONTEXT,
        identity=CapsuleIdentity(user_id=user_id, session_id="imported"),
        metadata=CapsuleMetadata(title=name),
        payload={"content": text},
    )


def _check_payload(capsule: Capsule) -> None:
    """The payload must have the shape that its type promises: recall and the engine's exports read it unasked."""
    payload: Any = capsule.payload
    if capsule.capsule_type is CapsuleType.HYBRID:
        _check_skills(payload.get("skills", []))
        payload = payload.get("memory", {})
    elif capsule.capsule_type is CapsuleType.SKILL:
        _check_skills([payload])
    if not isinstance(payload, dict):
        raise UnreadableCapsule("the capsule's memory is not an object")
    facts = payload.get("facts", [])
    if not isinstance(facts, list) or not all(
        isinstance(fact, dict)
        and isinstance(fact.get("key"), str)
        and isinstance(fact.get("confidence", 0.0), int | float)
        for fact in facts
    ):
        raise UnreadableCapsule("the capsule's facts are not a list of objects with a key and a confidence in numbers")
    for field in ("context_summary", "content"):
        if not isinstance(payload.get(field, ""), str):
            raise UnreadableCapsule(f"the capsule's {field} is not text")


def _check_skills(skills: Any) -> None:
    texts = ("skill_name", "description", "trigger_pattern", "instructions")
    if not isinstance(skills, list) or not all(
        isinstance(skill, dict) and all(isinstance(skill.get(text, ""), str) for text in texts) for skill in skills
    ):
        raise UnreadableCapsule("the capsule's skills are not a list of objects with texts")
