"""Reduces the OpenAPI document to what clients rely on, and tells what a newer document breaks of it.

docs/api/released.yaml is that of the version that clients have; `python -m tests.architecture.contract` writes it anew.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.architecture.sources import ROOT, read

DOCUMENT, RELEASED, NOTES = "docs/api/openapi.yaml", "docs/api/released.yaml", "docs/api/changes.md"
HEADING = re.compile(r"^## (\d+)\.(\d+)\.(\d+) — (\d{4}-\d{2}-\d{2})$", re.MULTILINE)
LOWER, UPPER = ("minLength", "minItems", "minimum"), ("maxLength", "maxItems", "maximum")
COPIED = {"enum", "format", "pattern", *LOWER, *UPPER}
READ = {"type", "oneOf", "properties", "required", "items", "additionalProperties", "readOnly", "writeOnly"}
PROSE = {"title", "description", "default", "examples"}
Document = dict[str, Any]
Fields = dict[str, dict[str, Any]]  # "200 application/json > data > [] > id" -> what is promised of it, or demanded


def load(text: str) -> Document:
    """A YAML document (the C loader is the safe one, and thirty times faster)."""
    document: Document = yaml.load(text, Loader=yaml.CSafeLoader)
    return document


def contract(document: Document) -> Document:
    """The document's version, and what each operation takes and gives; the refusals that many share are one entry."""
    schemas = document["components"]["schemas"]
    operations = {
        f"{method.upper()} {path}": {"takes": _takes(described, schemas), "gives": _gives(described, schemas)}
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    }
    for name, response in document["components"].get("responses", {}).items():
        operations[f"every {name}"] = {"takes": {}, "gives": _bodies(response, "", "gives", schemas)}
    return {"version": document["info"]["version"], "operations": operations}


def dump(whole: Document) -> str:
    """The contract as YAML with a line for each field."""
    lines = [f"version: {whole['version']}", "operations:"]
    for name, sides in whole["operations"].items():
        lines.append(f"  {name}:")
        for side, fields in sides.items():
            lines.append(f"    {side}:" if fields else f"    {side}: {{}}")
            lines += [f"      {json.dumps(where)}: {json.dumps(field)}" for where, field in fields.items()]
    return "\n".join(lines) + "\n"


def _takes(described: Document, schemas: Document) -> Fields:
    fields: Fields = {"an API key": {"required": bool(described["security"])}}
    for one in described.get("parameters", ()):
        where = f"{one['in']} {one['name']}"
        fields |= _fields(one["schema"], where, "takes", schemas, is_required=one.get("required", False))
    if body := described.get("requestBody"):
        fields["body"] = {"required": body.get("required", False)}
        fields |= _bodies(body, "body ", "takes", schemas)
    return fields


def _gives(described: Document, schemas: Document) -> Fields:
    fields: Fields = {}
    for status, response in described["responses"].items():
        fields[status] = {"as": response["$ref"].rpartition("/")[2]} if "$ref" in response else {}
        fields |= _bodies(response, f"{status} ", "gives", schemas)
    return fields


def _bodies(described: Document, prefix: str, side: str, schemas: Document) -> Fields:
    fields: Fields = {}
    for kind, body in described.get("content", {}).items():
        fields |= _fields(body["schema"], f"{prefix}{kind}", side, schemas)
    return fields


def _fields(schema: Document, where: str, side: str, schemas: Document, *, is_required: bool = False) -> Fields:
    """A schema and everything in it, by path. Raises ValueError at a word of JSON Schema that it cannot weigh."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if unknown := {word for word in schema.keys() - COPIED - READ - PROSE if not word.startswith("x-")}:
        raise ValueError(f"{where} has {sorted(unknown)}: say in tests/architecture/contract.py what that promises.")
    if schema.get("readOnly" if side == "takes" else "writeOnly"):
        return {}
    alternatives = [_fields(one, where, side, schemas) for one in schema.get("oneOf", ())]
    kinds = schema.get("type", [] if alternatives else ["any"])
    types = {kinds} if isinstance(kinds, str) else set(kinds)
    own = {"type": sorted(types.union(*(fields[where]["type"] for fields in alternatives)))}
    own |= {word: value for word, value in schema.items() if word in COPIED}
    found: Fields = {}
    for fields in alternatives:
        found |= fields
    found[where] = own | ({"required": True} if is_required else {})
    others = schema.get("additionalProperties")
    inner = dict(schema.get("properties", {}))
    inner |= {"[]": schema["items"]} if "items" in schema else {}
    inner |= {"*": others} if isinstance(others, dict) else {}
    for name, one in inner.items():
        is_always = name in schema.get("required", ())
        found |= _fields(one, f"{where} > {name}", side, schemas, is_required=is_always)
    return found


def breaks(old: Document, new: Document) -> dict[str, list[str]]:
    """What the contract `new` breaks of `old`, by operation. Adding breaks nothing."""
    found: dict[str, list[str]] = {}
    for name, was in old["operations"].items():
        now = new["operations"].get(name)
        broken = ["is gone"]
        if now is not None:
            broken = [*_broken_takes(was["takes"], now["takes"]), *_broken_gives(was["gives"], now["gives"])]
        if broken:
            found[name] = broken
    return found


def _broken_takes(old: Fields, new: Fields) -> Iterator[str]:
    yield from (f"no longer takes {where}" for where in _gone(old, new))
    for where, now in new.items():
        was = old.get(where, {})
        parent = where.rpartition(" > ")[0]
        if now.get("required") and not was.get("required") and (was or not parent or parent in old):
            yield f"now needs {where}"
        if not was:
            continue
        if lost := _types_beyond(was, now) + _words_beyond(was, now):
            yield f"no longer takes {lost} as {where}"
        for word in ("format", "pattern", *LOWER, *UPPER):
            if word in now and _is_tighter(word, was.get(word), now[word]):
                yield f"now takes {where} only with {word} {now[word]}"


def _broken_gives(old: Fields, new: Fields) -> Iterator[str]:
    yield from (f"no longer gives {where}" for where in _gone(old, new))
    for where, was in old.items():
        now = new.get(where)
        if now is None:
            continue
        if was.get("required") and not now.get("required"):
            yield f"may leave out {where}"
        if more := _types_beyond(now, was):
            yield f"may give {more} as {where}"
        if lost := _words_beyond(was, now):  # a word that clients look for may have been renamed
            yield f"no longer gives {lost} as {where}"
        for word in ("format", "as"):
            if word in was and now.get(word) != was[word]:
                yield f"no longer gives {where} {'as' if word == 'as' else 'in the format'} {was[word]}"


def _gone(old: Fields, new: Fields) -> list[str]:
    """What is missing, without what was inside of it."""
    gone = old.keys() - new.keys()
    return sorted(where for where in gone if not any(where.startswith(f"{outer} ") for outer in gone))


def _types_beyond(these: Document, those: Document) -> list[str]:
    covered = {*those.get("type", ()), *(["integer"] if "number" in those.get("type", ()) else [])}
    return [] if "any" in covered else sorted(set(these.get("type", ())) - covered)


def _words_beyond(these: Document, those: Document) -> list[str]:
    if "enum" not in those:
        return []
    return [str(word) for word in these.get("enum", ["any other word"]) if word not in those["enum"]]


def _is_tighter(word: str, was: Any, now: Any) -> bool:
    if was is None or word in {"format", "pattern"}:
        return bool(now != was)
    return bool(now > was if word in LOWER else now < was)


def complaints(released: Document, current: Document, notes: str) -> list[str]:
    """Each breaking difference between two contracts that the newest note does not announce, with the remedy."""
    broken = breaks(released, current)
    _, _, rest = HEADING.sub("\f", notes).partition("\f")
    newest = rest.partition("\f")[0]
    found = [
        f"`{name}` {'; '.join(what)}. Take that back, or name `{name}` in the newest note of {NOTES}."
        for name, what in broken.items()
        if f"`{name}`" not in newest
    ]
    if broken and _major_and_minor(current) <= _major_and_minor(released):
        found.append(
            f"The document breaks what version {released['version']} promised ({', '.join(broken)}), and is version "
            f"{current['version']} itself: raise the minor part of SPECTACULAR_SETTINGS['VERSION'], or take that back."
        )
    return found


def _major_and_minor(whole: Document) -> list[int]:
    return [int(part) for part in whole["version"].split(".")[:2]]


def main() -> None:
    """Make the checked-in document the released one, unless it breaks what was not announced."""
    current = contract(load(read(DOCUMENT)))
    if unannounced := complaints(load(read(RELEASED)), current, read(NOTES)):
        raise SystemExit("\n".join(unannounced))
    (ROOT / RELEASED).write_text(dump(current), encoding="utf-8")


if __name__ == "__main__":
    main()
