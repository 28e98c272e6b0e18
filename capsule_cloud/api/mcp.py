"""The Model Context Protocol: JSON-RPC 2.0 over Streamable HTTP, one request an answer, no state between them.

https://modelcontextprotocol.io/specification: the door has let the key in, and refused origins that its project does
not list, before anything here runs.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from billing.plans import Feature
from capsule_cloud.api.auth import demand_feature, principal_of
from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.json_bodies import parse_json
from capsule_cloud.api.limits import count
from capsule_cloud.api.mcp_calls import sentence
from capsule_cloud.api.mcp_prompts import MEMORY_CONTEXT, memory_context
from capsule_cloud.api.mcp_tools import TOOLS

VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
ASSUMED_VERSION = "2025-03-26"  # of a request that does not name one, says the specification
VERSIONS_WITH_BATCHES = frozenset({"2024-11-05", "2025-03-26"})
MAX_BATCH = 50
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
INSTRUCTIONS = """\
Capsule Memory remembers conversations across sessions, for each end user by themselves.

Without being asked:
1. After the first exchange of a conversation call `capsule_ingest` with the person's message and your answer. When
   something is known already, the result has `recalled_context`: use it in what you say next.
2. Call it again after every exchange with a preference, a decision, a fact about a project or a solution. Leave out
   small talk.
3. At the end call `capsule_seal` with a title, tags, and the `facts` and `summary` that you extracted: what you write
   is better than what rules can find.
When the person refers to something from before, call `capsule_recall` first.

Do not remember what the person calls off the record, passwords and other secrets, or text that they only quote.
"""


class RpcError(Exception):
    """A request that JSON-RPC itself refuses, with one of its codes."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def endpoint(request: HttpRequest) -> HttpResponse:
    """`POST /mcp`: one message, or a batch where the version of the protocol has them.

    We push nothing and keep no sessions, so GET (a stream) and DELETE (the end of a session) are 405.
    """
    if request.method != "POST":
        raise ApiError("method_not_allowed", "Send JSON-RPC messages by POST.", headers={"Allow": "POST"})
    demand_feature(principal_of(request), Feature.MCP)
    version = _checked_version(request)
    try:
        message = parse_json(request.body)
    except orjson.JSONDecodeError as error:
        return _reply(_failure(None, RpcError(PARSE_ERROR, f"Not JSON: {error.msg}")), HTTPStatus.BAD_REQUEST)
    try:
        if isinstance(message, list):
            return _answer_batch(request, message, version)
        is_request = _is_request(message)
    except RpcError as error:
        return _reply(_failure(None, error), HTTPStatus.BAD_REQUEST)
    return _reply(_answer(request, message)) if is_request else HttpResponse(status=HTTPStatus.ACCEPTED)


def _checked_version(request: HttpRequest) -> str:
    if request.content_type != "application/json":
        raise ApiError("unsupported_media_type")
    if not request.accepts("application/json"):
        raise ApiError("not_acceptable")
    version = request.headers.get("MCP-Protocol-Version", ASSUMED_VERSION)
    if version not in VERSIONS:
        raise ApiError("bad_request", f"MCP-Protocol-Version must be one of {', '.join(VERSIONS)}.")
    return version


def _answer_batch(request: HttpRequest, messages: list[Any], version: str) -> HttpResponse:
    if version not in VERSIONS_WITH_BATCHES:
        raise RpcError(INVALID_REQUEST, f"Version {version} of the protocol has no batches.")
    if not 1 <= len(messages) <= MAX_BATCH:
        raise RpcError(INVALID_REQUEST, f"A batch has 1 to {MAX_BATCH} messages.")
    requests = [message for message in messages if _is_request(message)]
    if any(message["method"] == "initialize" for message in requests):
        raise RpcError(INVALID_REQUEST, "initialize cannot be part of a batch.")
    if not requests:
        return HttpResponse(status=HTTPStatus.ACCEPTED)
    count(request, principal_of(request), len(requests) - 1)  # the door has counted one
    return _reply([_answer(request, message) for message in requests])


def _is_request(message: Any) -> bool:
    """Whether the message wants an answer; a notification, or an answer to us, does not. Raises RpcError."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'A message is an object with "jsonrpc": "2.0".')
    if "method" not in message and ("result" in message or "error" in message):
        return False
    if not isinstance(message.get("method"), str):
        raise RpcError(INVALID_REQUEST, "method must be a string.")
    if not isinstance(message.get("params", {}), dict):
        raise RpcError(INVALID_REQUEST, "params must be an object.")
    if "id" not in message:
        return False
    if not isinstance(message["id"], str | int) or isinstance(message["id"], bool):
        raise RpcError(INVALID_REQUEST, "id must be a string or an integer.")
    return True


def _answer(request: HttpRequest, message: dict[str, Any]) -> dict[str, Any]:
    try:
        method = _METHODS.get(message["method"])
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, f"There is no method {message['method'][:100]!r}.")
        result = method(request, message.get("params", {}))
    except RpcError as error:
        return _failure(message["id"], error)
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _initialize(request: HttpRequest, params: Mapping[str, Any]) -> dict[str, Any]:
    wanted = params.get("protocolVersion")
    return {
        "protocolVersion": wanted if wanted in VERSIONS else VERSIONS[-1],
        "capabilities": {"tools": {"listChanged": False}, "prompts": {"listChanged": False}},
        "serverInfo": {
            "name": "capsule-memory-cloud",
            "title": "Capsule Memory Cloud",
            "version": settings.SPECTACULAR_SETTINGS["VERSION"],
        },
        "instructions": INSTRUCTIONS,
    }


def _ping(request: HttpRequest, params: Mapping[str, Any]) -> dict[str, Any]:
    return {}


def _list_tools(request: HttpRequest, params: Mapping[str, Any]) -> dict[str, Any]:
    _refuse_cursor(params)
    return {"tools": [tool.description for tool in TOOLS.values()]}


def _call_tool(request: HttpRequest, params: Mapping[str, Any]) -> dict[str, Any]:
    tool = TOOLS.get(_name(params))
    if tool is None:
        raise RpcError(INVALID_PARAMS, f"There is no tool {_name(params)[:100]!r}.")
    text, is_error = tool.call(request, _arguments(params))
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


def _list_prompts(request: HttpRequest, params: Mapping[str, Any]) -> dict[str, Any]:
    _refuse_cursor(params)
    return {"prompts": [MEMORY_CONTEXT]}


def _get_prompt(request: HttpRequest, params: Mapping[str, Any]) -> dict[str, Any]:
    if _name(params) != MEMORY_CONTEXT["name"]:
        raise RpcError(INVALID_PARAMS, f"There is no prompt {_name(params)[:100]!r}.")
    try:
        return memory_context(request, _arguments(params))
    except ApiError as refusal:  # a prompt has no way of its own to say that it failed
        raise RpcError(INVALID_PARAMS, sentence(refusal)) from refusal


def _name(params: Mapping[str, Any]) -> str:
    name = params.get("name")
    if not isinstance(name, str):
        raise RpcError(INVALID_PARAMS, "name must be a string.")
    return name


def _arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    arguments = params.get("arguments")
    if arguments is not None and not isinstance(arguments, dict):
        raise RpcError(INVALID_PARAMS, "arguments must be an object.")
    return arguments or {}


def _refuse_cursor(params: Mapping[str, Any]) -> None:
    if params.get("cursor") is not None:  # everything is on the first page, so we never gave one
        raise RpcError(INVALID_PARAMS, "cursor is not one of ours: start again without it.")


_METHODS: dict[str, Callable[[HttpRequest, Mapping[str, Any]], dict[str, Any]]] = {
    "initialize": _initialize,
    "ping": _ping,
    "tools/list": _list_tools,
    "tools/call": _call_tool,
    "prompts/list": _list_prompts,
    "prompts/get": _get_prompt,
}


def _failure(message_id: str | int | None, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message_id, "error": {"code": error.code, "message": str(error)}}


def _reply(body: Any, status: int = HTTPStatus.OK) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), status=status, content_type="application/json")
