"""JSON Schemas of what the plain routes answer, for the OpenAPI document."""

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
MOMENT_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}
ANYTHING: Schema = {"type": "object", "additionalProperties": True}
FILE: Schema = {"type": "string", "format": "binary"}


def many(of: Schema) -> Schema:
    """A list of one kind."""
    return {"type": "array", "items": of}


def shape(**properties: Schema) -> Schema:
    """An object that has every property."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def perhaps(whole: Schema, **properties: Schema) -> Schema:
    """The object `whole` with more properties that are not always there."""
    return {**whole, "properties": {**whole["properties"], **properties}}
