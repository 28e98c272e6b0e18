"""JSON Schemas of what the plain routes answer, for the OpenAPI document."""

from collections.abc import Sequence
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


def shape(*, optional: Sequence[str] = (), **properties: Schema) -> Schema:
    """An object; every property is there unless it is optional."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}
