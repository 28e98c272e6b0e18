"""Writes the catalogue of audited actions for people (docs/audit.md) and for programs (docs/api/audit_actions.json)."""

import json
from typing import Any

from tenancy.audit import ocsf
from tenancy.audit.actions import CATALOGUE, Action
from tenancy.audit.catalogue.action import SECRET, Schema

BEGIN, END = "<!-- catalogue -->\n", "<!-- /catalogue -->"


def catalogue() -> str:
    """A table for each room: the action, what somebody did, what the event holds, its class in OCSF."""
    rooms: dict[str, list[Action]] = {}
    for action in sorted(CATALOGUE.values(), key=lambda one: one.name):
        rooms.setdefault(action.name.partition(".")[0], []).append(action)
    return "\n".join(_table(room, actions) for room, actions in rooms.items())


def with_catalogue(page: str) -> str:
    """The page with the catalogue as it is now. Raises LookupError where the marks are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise LookupError("The page has no marks for the catalogue.")
    return f"{before}{BEGIN}\n{catalogue()}\n{END}{after}"


def as_json() -> str:
    """Every action with its version, its class and its JSON Schema, one to a line."""
    actions = {name: _described(CATALOGUE[name]) for name in sorted(CATALOGUE)}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(one, ensure_ascii=False)}" for name, one in actions.items())
    return f'{{"ocsf": "{ocsf.VERSION}", "actions": {{\n{lines}\n}}}}\n'


def _described(action: Action) -> dict[str, Any]:
    class_uid, activity_id = action.kind.value
    return {
        "version": action.version,
        "sentence": action.sentence,
        "class_uid": class_uid,
        "activity_id": activity_id,
        "severity_id": int(action.severity),
        "status_id": 2 if action.is_failure else 1,
        "schema": action.schema,
    }


def _table(room: str, actions: list[Action]) -> str:
    rows = "\n".join(
        f"| `{one.name}` | {one.sentence} | {_fields(one)} | {_changes(one)} | {_kind(one)} |" for one in actions
    )
    return f"### `{room}`\n\n| Action | Somebody … | Metadata | Changes | OCSF |\n|---|---|---|---|---|\n{rows}\n"


def _fields(action: Action) -> str:
    always = [f"`{name}`" for name in action.has]
    return ", ".join([*always, *(f"`{name}`?" for name in action.may)])


def _changes(action: Action) -> str:
    return ", ".join(f"`{name}`{_hidden(schema)}" for name, schema in action.changes.items())


def _hidden(schema: Schema) -> str:
    return " (hidden)" if schema is SECRET else ""


def _kind(action: Action) -> str:
    class_uid, activity_id = action.kind.value
    return f"{class_uid} {ocsf.CLASSES[class_uid]}: {ocsf.ACTIVITIES[class_uid][activity_id]}"
