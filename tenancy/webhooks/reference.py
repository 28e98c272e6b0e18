"""Writes the catalogue for people: the part of docs/webhooks.md between its marks."""

import json

from tenancy.webhooks.catalogue import TYPES, EventType, Schema

BEGIN, END = "<!-- catalogue -->\n", "<!-- /catalogue -->"


def catalogue() -> str:
    """Every type by room: when it is sent, its fields, an example."""
    rooms: dict[str, list[EventType]] = {}
    for kind in TYPES.values():
        rooms.setdefault(kind.group, []).append(kind)
    parts = []
    for group, kinds in rooms.items():
        parts.append(f"### `{group}`\n")
        parts += [_section(kind) for kind in kinds]
    return "\n".join(parts)


def with_catalogue(page: str) -> str:
    """The page with the catalogue as it is now. Raises LookupError where the marks are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise LookupError("The page has no marks for the catalogue.")
    return f"{before}{BEGIN}\n{catalogue()}\n{END}{after}"


def _section(kind: EventType) -> str:
    fields = "\n".join(
        f"| `{name}` | {_type(schema)} | {schema.get('description', '')} |" for name, schema in kind.fields.items()
    )
    example = json.dumps(kind.example, indent=2, ensure_ascii=False)
    project = " It belongs to a project." if kind.of_project else ""
    return (
        f"#### `{kind.name}`\n\n{kind.sentence}{project}\n\n| Field | Type | |\n|---|---|---|\n{fields}\n\n"
        f"```json\n{example}\n```\n"
    )


def _type(schema: Schema) -> str:
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    names = [str(schema.get("format", one)) if one == "string" else str(one) for one in types]
    if "items" in schema:
        names = [f"array of {_type(schema['items'])}"]
    return " or ".join(names)
