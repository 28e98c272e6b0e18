"""Reads Stripe's form encoding, `items[0][price]=…`, into the types that the contract's schema names."""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

Json = dict[str, Any]
WHOLE = re.compile(r"-?\d{1,18}")
NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Unreadable(Exception):
    """The form's brackets contradict each other, or it holds a NUL; the text is the parameter's name."""


def parse(body: str) -> Json:
    """A form as nested dicts of texts; an index of a list is a key of its own here."""
    found: Json = {}
    for name, value in parse_qsl(body, keep_blank_values=True):
        if "\0" in name + value:  # PostgreSQL has none
            raise Unreadable(name.replace("\0", ""))
        keys = [part.rstrip("]") for part in name.split("[")]
        at: Any = found
        for key in keys[:-1]:
            at = at.setdefault(_place(at, key), {})
            if not isinstance(at, dict):
                raise Unreadable(name)
        at[_place(at, keys[-1])] = value
    return found


def _place(at: Json, key: str) -> str:
    return key or str(len(at))


def typed(value: Any, schema: Json, defs: Json) -> Any:
    """The form's value as the schema wants it; what fits nothing stays as it is, for the validator to refuse."""
    schema = resolved(schema, defs)
    if "anyOf" in schema:
        fitting = [one for one in schema["anyOf"] if _fits(value, resolved(one, defs))]
        return typed(value, fitting[0], defs) if fitting else value
    kinds = _kinds(schema)
    if isinstance(value, dict):
        if "array" in kinds:
            return [typed(value[key], schema.get("items", {}), defs) for key in sorted(value, key=_index)]
        own, more = schema.get("properties", {}), schema.get("additionalProperties")
        return {
            key: typed(inner, own.get(key, more if isinstance(more, dict) else {}), defs)
            for key, inner in value.items()
        }
    return _scalar(value, kinds)


def _scalar(value: str, kinds: list[str]) -> Any:
    if "integer" in kinds and WHOLE.fullmatch(value):
        return int(value)
    if "number" in kinds and NUMBER.fullmatch(value):
        return float(value)
    if "boolean" in kinds and value in {"true", "false"}:
        return value == "true"
    return value


def _fits(value: Any, schema: Json) -> bool:
    kinds = _kinds(schema)
    if isinstance(value, dict):
        if "array" in kinds:
            return all(key.isdigit() for key in value)
        return "object" in kinds and (not schema.get("properties") or value.keys() <= schema["properties"].keys())
    if "enum" in schema:
        return value in schema["enum"]
    return not isinstance(_scalar(value, kinds), str) or "string" in kinds


def resolved(schema: Json, defs: Json) -> Json:
    """The schema itself where it is a reference into the definitions."""
    while "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    return schema


def _kinds(schema: Json) -> list[str]:
    kinds: str | list[str] = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else kinds


def _index(key: str) -> tuple[int, str]:
    return (int(key), "") if key.isdigit() else (2**31, key)


def names(found: Iterable[Any]) -> str:
    """A path into a form as Stripe writes it: `items[0][price]`."""
    first, *rest = [str(one) for one in found] or [""]
    return first + "".join(f"[{one}]" for one in rest)
