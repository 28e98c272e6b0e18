"""Holds every request and answer to Stripe's own contract, reduced by reduce_contract.py to what the sandbox does."""

import gzip
import json
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from billing.sandbox import forms
from billing.sandbox.refusals import Refusal

Json = dict[str, Any]
FILE = Path(__file__).with_name("contract.json.gz")


class Broken(AssertionError):
    """The sandbox itself made something that Stripe would not: a mistake of ours."""


@cache
def document() -> Json:
    """The reduced contract: version, operations and definitions."""
    found: Json = json.loads(gzip.decompress(FILE.read_bytes()))
    return found


def version() -> str:
    """The one version of Stripe's API that the sandbox speaks."""
    return str(document()["version"])


def read(operation: str, form: Json) -> Json:
    """The typed parameters of a request. Raises Refusal where the contract does."""
    schema = document()["operations"][operation]["request"]
    params: Json = forms.typed(form, schema, document()["$defs"])
    for error in _validator(operation, "request").iter_errors(params):
        raise _refusal(error, params)
    return params


def check_answer(operation: str, answer: Json) -> None:
    """Raise Broken where the answer is not what the contract promises."""
    for error in _validator(operation, "response").iter_errors(answer):
        raise Broken(f"{operation} answers {_where(error)}: {error.message[:300]}")


def check_object(found: Json) -> None:
    """Raise Broken where an object is not one of Stripe's."""
    kind = found["object"]
    if unknown := found.keys() - properties(kind).keys():
        raise Broken(f"{kind} has no {sorted(unknown)}")
    for error in _object_validator(kind).iter_errors(found):
        raise Broken(f"{kind} has {_where(error)}: {error.message[:300]}")


def properties(kind: str) -> Json:
    """The schemas of an object's properties, by name."""
    found: Json = document()["$defs"][_definitions()[kind]]["properties"]
    return found


def skeleton(kind: str) -> Json:
    """The smallest valid object of the kind: what is required, with nulls wherever they are allowed."""
    found: Json = _smallest({"$ref": f"#/$defs/{_definitions()[kind]}"}, depth=0)
    return found


def fits(kind: str, name: str, value: Any) -> bool:
    """Whether the object's property may have the value."""
    return name in properties(kind) and _property_validator(kind, name).is_valid(value)


def _smallest(schema: Json, depth: int) -> Any:
    schema = forms.resolved(schema, document()["$defs"])
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    options = schema.get("anyOf", [])
    if "null" in kinds or {"type": "null"} in options:
        return None
    if options:
        return _smallest(options[0], depth)
    if "enum" in schema:
        return schema["enum"][0]
    if "object" in kinds or "properties" in schema:
        required, own = set(schema.get("required", [])), schema.get("properties", {})
        nullable = {name for name, one in own.items() if depth == 0 and _smallest(one, depth + 1) is None}
        return {name: _smallest(one, depth + 1) for name, one in own.items() if name in required | nullable}
    simple = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": []}
    return next((simple[kind] for kind in kinds if kind in simple), None)


@cache
def _definitions() -> dict[str, str]:
    """Where each kind of object is defined, by the word in its `object`."""
    found = {}
    for name, schema in document()["$defs"].items():
        words = schema.get("properties", {}).get("object", {}).get("enum", [])
        if words and "deleted" not in schema["properties"] and (schema.get("resource") or words[0] not in found):
            found[words[0]] = name
    return found


@lru_cache(maxsize=512)
def _validator(operation: str, side: str) -> jsonschema_rs.Validator:
    return _compiled(document()["operations"][operation][side])


@cache
def _object_validator(kind: str) -> jsonschema_rs.Validator:
    return _compiled({"$ref": f"#/$defs/{_definitions()[kind]}"})


@cache
def _property_validator(kind: str, name: str) -> jsonschema_rs.Validator:
    return _compiled(properties(kind)[name])


def _compiled(schema: Json) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(schema | {"$defs": document()["$defs"]})


def _where(error: Any) -> str:
    return forms.names(error.instance_path) or "itself"


def _refusal(error: Any, params: Json) -> Refusal:
    """The contract's complaint in Stripe's words."""
    kind = error.kind.name if hasattr(error.kind, "name") else type(error.kind).__name__
    path = list(error.instance_path)
    if "additional" in kind.lower():
        name = forms.names([*path, error.kind.unexpected[0]])
        return Refusal(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
    if "required" in kind.lower():
        name = forms.names([*path, error.kind.property])
        return Refusal(f"Missing required param: {name}.", code="parameter_missing", param=name)
    name = forms.names(path)
    value: Any = params
    for step in path:
        value = value[step]
    if value == "":
        return Refusal(f"You passed an empty string for '{name}'.", code="parameter_invalid_empty", param=name)
    return Refusal(f"Invalid {name}: {str(value)[:200]}", code="parameter_invalid", param=name)
