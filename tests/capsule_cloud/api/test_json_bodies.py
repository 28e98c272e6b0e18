"""JSON is taken as deep as anything of ours is, and no deeper, on every surface."""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
import yaml
from django.conf import settings

from billing.plans import Feature
from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.json_bodies import MAX_DEPTH, parse_json
from tenancy.models import Organization
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api

DEPTHS = (MAX_DEPTH + 1, 300, 980, 1020, 100_000)  # around what orjson writes (254), Python prints (1000), orjson reads
TOO_DEEP = f"The JSON is nested deeper than {MAX_DEPTH} levels."


def lists(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def objects(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


def with_bodies() -> list[tuple[str, str, str]]:
    """Every operation that takes JSON, with the first field that it names."""
    document = yaml.load((Path(settings.BASE_DIR) / "docs/api/openapi.yaml").read_text(), Loader=yaml.CSafeLoader)
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if schema is not None:
                if "$ref" in schema:
                    schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
                found.append((method.upper(), path, next(iter(schema.get("properties", ["x"])))))  # a list has none
    return found


@pytest.mark.parametrize("nested", [lists, objects])
def test_the_limit_is_exact(nested: Any) -> None:
    assert parse_json(nested(MAX_DEPTH)) == orjson.loads(nested(MAX_DEPTH))
    for depth in DEPTHS:
        with pytest.raises(ApiError, match="bad_request"):
            parse_json(nested(depth))


def test_many_brackets_are_not_deep() -> None:
    body = orjson.dumps({"text": "[" * 10_000, "rows": [[{}]] * 1000})
    assert parse_json(body) == orjson.loads(body)


@pytest.mark.parametrize(("method", "path", "field"), with_bodies())
def test_no_operation_takes_bottomless_json(api: Api, method: str, path: str, field: str) -> None:
    address = re.sub(r"\{\w+\}", str(uuid4()), path)
    with scope(api.tenant.organization):
        Organization.objects.update(features=list(Feature))  # or it would be refused unread
    for depth in DEPTHS:
        for nested in (lists, objects):
            for body in (nested(depth), b'{"%s":%s}' % (field.encode(), nested(depth))):
                answer = api(method, address, body)
                assert (answer.status_code, answer.json()["detail"]) == (400, TOO_DEEP), (depth, nested.__name__)


@pytest.mark.parametrize(
    "message",
    [
        "%s",
        '{"jsonrpc": "2.0", "method": "ping", "id": %s}',
        '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "capsule_seal", "arguments": %s}}',
    ],
)
def test_no_message_of_mcp_is_bottomless(api: Api, message: str) -> None:
    for depth in DEPTHS:
        for nested in (lists, objects):
            answer = api.post("/mcp", (message % nested(depth).decode()).encode())
            assert (answer.status_code, answer.json()["error"]["message"]) == (400, TOO_DEEP), depth


@pytest.mark.parametrize("depth", DEPTHS)
def test_no_imported_content_is_bottomless(api: Api, depth: int) -> None:
    content = objects(depth).decode()
    call = {"name": "capsule_import", "arguments": {"content": content, "file_path": "deep.json"}}
    answer = api.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
    assert (answer.status_code, answer.json()["result"]["isError"]) == (200, True)
