"""The MCP endpoint: what the protocol asks of a server, and a real client that drives all of it."""

import base64
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import McpError
from mcp.types import CallToolResult, TextContent

from capsule_cloud.api.mcp import MAX_BATCH, VERSIONS
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, make_tenant
from tests.live import LiveServer

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
TOOLS = {
    "capsule_ingest",
    "capsule_seal",
    "capsule_recall",
    "capsule_inject_context",
    "capsule_list",
    "capsule_export",
    "capsule_import",
    "capsule_pending_triggers",
    "capsule_confirm_trigger",
    "capsule_extract_skill",
}


def request(method: str, params: Any = None, message_id: Any = 1) -> dict[str, Any]:
    """A JSON-RPC request."""
    message = {"jsonrpc": "2.0", "id": message_id, "method": method}
    return message if params is None else message | {"params": params}


def initialize(version: str) -> dict[str, Any]:
    client = {"name": "test", "version": "1"}
    return request("initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": client})


# --- a real client, over HTTP ---


@pytest.fixture(scope="module")
def live(django_db_setup: None) -> Iterator[LiveServer]:
    """The real server, whose engine notices skills."""
    with LiveServer(workers=1, CAPSULE_MOCK_EXTRACTOR="") as server:
        yield server


def with_client(live: LiveServer, tenant: Tenant, talk: Callable[[ClientSession], Awaitable[None]]) -> None:
    """Let `talk` use the official client, connected to the live server with the tenant's key."""

    async def run() -> None:
        async with (
            httpx.AsyncClient(headers=tenant.headers, timeout=30) as http,
            streamable_http_client(f"{live.url}/mcp", http_client=http) as (reader, writer, _),
            ClientSession(reader, writer) as session,
        ):
            await talk(session)

    anyio.run(run)


def text_of(result: CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


async def use(session: ClientSession, name: str, **arguments: Any) -> Any:
    """What a tool answers, as JSON."""
    result = await session.call_tool(name, arguments)
    assert not result.isError, text_of(result)
    return json.loads(text_of(result))


def test_a_real_client_drives_every_tool(live: LiveServer, live_tenant: Tenant) -> None:
    async def talk(session: ClientSession) -> None:
        hello = await session.initialize()
        assert hello.serverInfo.name == "capsule-memory-cloud"
        assert "capsule_ingest" in (hello.instructions or "")
        await session.send_ping()
        assert {tool.name for tool in (await session.list_tools()).tools} == TOOLS

        first = await use(
            session,
            "capsule_ingest",
            user_message="We release Atlas on Tuesdays at 14:00 UTC.",
            assistant_response="Noted: Tuesdays, 14:00 UTC.",
            user_id="dana",
        )
        second = await use(
            session,
            "capsule_ingest",
            user_message="Perfect, remember this release checklist.",
            assistant_response="I will: tag, build, deploy, watch Sentry for an hour.",
            user_id="dana",
        )
        assert second["session_id"] == first["session_id"]
        assert second["total_turns"] == 4
        [trigger] = (await use(session, "capsule_pending_triggers", user_id="dana"))["pending"]
        confirmed = await use(
            session,
            "capsule_confirm_trigger",
            event_id=trigger["event_id"],
            resolution="extract_skill",
            user_id="dana",
        )
        assert confirmed == {"resolved": True, "event_id": trigger["event_id"]}
        sealed = await use(
            session,
            "capsule_seal",
            user_id="dana",
            title="Atlas releases",
            tags=["atlas"],
            summary="Atlas is released on Tuesdays.",
            facts=[{"key": "decision.release_day", "value": "Tuesdays at 14:00 UTC", "category": "decision"}],
        )
        assert sealed["extraction"] == "host_llm"

        found = await use(session, "capsule_recall", query="When is Atlas released?", user_id="dana")
        assert found["sources"] == [sealed["capsule_id"]]
        assert found["skills"]
        without = await use(
            session, "capsule_recall", query="When is Atlas released?", user_id="dana", include_skills=False
        )
        assert without["skills"] == []
        block = await session.call_tool("capsule_inject_context", {"query": "Atlas release", "user_id": "dana"})
        assert "Tuesdays at 14:00 UTC" in text_of(block)
        [listed] = await use(session, "capsule_list", user_id="dana", tags=["atlas"])
        assert listed["capsule_id"] == sealed["capsule_id"]

        exported = await use(session, "capsule_export", capsule_id=sealed["capsule_id"], format="json")
        assert json.loads(exported["content"])["capsule_id"] == sealed["capsule_id"]
        packed = await use(session, "capsule_export", capsule_id=sealed["capsule_id"], format="msgpack")
        assert packed["encoding"] == "base64"
        assert len(base64.b64decode(packed["content"])) == packed["size_bytes"]
        for name, content in (("copy.json", exported["content"]), ("copy.capsule", packed["content"])):
            copy = await use(session, "capsule_import", file_path=name, content=content, user_id="erin")
            assert copy["capsule_id"] != sealed["capsule_id"]

        skill = await use(
            session,
            "capsule_extract_skill",
            skill_name="Rollback",
            skill_description="When a release fails: redeploy the tag before it, then tell the channel.",
            user_id="dana",
        )
        skills = await use(session, "capsule_list", user_id="dana", capsule_type="skill")
        assert [one["capsule_id"] for one in skills] == [skill["skill_capsule_id"]]

        [prompt] = (await session.list_prompts()).prompts
        context = await session.get_prompt(prompt.name, {"topic": "Atlas release day", "user_id": "dana"})
        assert isinstance(context.messages[0].content, TextContent)
        assert "Tuesdays at 14:00 UTC" in context.messages[0].content.text

    with_client(live, live_tenant, talk)


def test_a_real_client_sees_nothing_of_another_project(live: LiveServer, live_tenant: Tenant) -> None:
    stranger = make_tenant()
    known: dict[str, str] = {}

    async def remember(session: ClientSession) -> None:
        await session.initialize()
        turn = {"user_message": "The launch code is swordfish.", "assistant_response": "I keep it.", "user_id": "dana"}
        known["session"] = (await use(session, "capsule_ingest", **turn))["session_id"]
        known["capsule"] = (await use(session, "capsule_seal", user_id="dana"))["capsule_id"]

    async def spy(session: ClientSession) -> None:
        await session.initialize()
        assert (await use(session, "capsule_recall", query="launch code swordfish", user_id="dana"))["sources"] == []
        assert await use(session, "capsule_list", user_id="dana") == []
        result = await session.call_tool("capsule_export", {"capsule_id": known["capsule"]})
        assert result.isError
        assert "swordfish" not in text_of(result)
        result = await session.call_tool("capsule_seal", {"user_id": "dana", "session_id": known["session"]})
        assert result.isError

    with_client(live, live_tenant, remember)
    with_client(live, stranger, spy)


def test_a_real_client_is_told_what_it_did_wrong(live: LiveServer, live_tenant: Tenant) -> None:
    async def talk(session: ClientSession) -> None:
        await session.initialize()
        result = await session.call_tool("capsule_recall", {"query": "x", "top_k": 11})
        assert result.isError
        assert "top_k" in text_of(result)
        with pytest.raises(McpError, match="no tool 'capsule_forget'"):
            await session.call_tool("capsule_forget", {})
        with pytest.raises(McpError, match="topic"):
            await session.get_prompt("memory-context", {})

    with_client(live, live_tenant, talk)


# --- the protocol ---


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_that_we_speak_is_agreed_on(api: Api, version: str) -> None:
    assert api.post("/mcp", initialize(version)).json()["result"]["protocolVersion"] == version


def test_any_other_version_is_answered_with_our_newest(api: Api) -> None:
    assert api.post("/mcp", initialize("1999-12-31")).json()["result"]["protocolVersion"] == VERSIONS[-1]


def test_a_request_in_an_unknown_version_is_refused(api: Api) -> None:
    answer = api.post("/mcp", PING, MCP_Protocol_Version="1999-12-31")
    assert answer.status_code == 400
    assert "2025-06-18" in answer.json()["error"]["message"]


def test_ping_is_answered_with_its_id(api: Api) -> None:
    for message_id in ("a", 7, 0):
        answer = api.post("/mcp", request("ping", message_id=message_id))
        assert answer.json() == {"jsonrpc": "2.0", "id": message_id, "result": {}}
        assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        [{"jsonrpc": "2.0", "method": "notifications/initialized"}],
    ],
)
def test_what_wants_no_answer_is_accepted_in_silence(api: Api, message: Any) -> None:
    answer = api.post("/mcp", message)
    assert (answer.status_code, answer.content) == (202, b"")


def test_a_batch_is_answered_in_order_where_the_version_has_batches(api: Api) -> None:
    batch = [PING, {"jsonrpc": "2.0", "method": "notifications/x"}, request("nothing", message_id="b")]
    first, second = api.post("/mcp", batch, MCP_Protocol_Version="2025-03-26").json()
    assert (first["id"], first["result"]) == (1, {})
    assert (second["id"], second["error"]["code"]) == ("b", -32601)
    newer = api.post("/mcp", batch, MCP_Protocol_Version="2025-06-18")
    assert newer.status_code == 400
    assert newer.json()["error"]["code"] == -32600


@pytest.mark.parametrize("batch", [[], [PING] * (MAX_BATCH + 1), [initialize(VERSIONS[0])], [PING, 1]])
def test_a_batch_that_cannot_be_is_refused_whole(api: Api, batch: list[Any]) -> None:
    answer = api.post("/mcp", batch)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == -32600


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "\xff"}', -32700),
        (b"[" * 2000, -32600),
        (1, -32600),
        ({"id": 1, "method": "ping"}, -32600),
        ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, -32600),
        ({"jsonrpc": "2.0", "id": 1}, -32600),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": True, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": 1.5, "method": "ping"}, -32600),
        (request("ping", []), -32600),
    ],
)
def test_what_is_no_message_is_refused(api: Api, body: Any, code: int) -> None:
    answer = api.post("/mcp", body)
    assert answer.status_code == 400
    assert (answer.json()["id"], answer.json()["error"]["code"]) == (None, code)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (request("resources/list"), -32601),
        (request("\x00"), -32601),
        (request("tools/list", {"cursor": "x"}), -32602),
        (request("tools/call"), -32602),
        (request("tools/call", {"name": ["capsule_list"]}), -32602),
        (request("tools/call", {"name": "capsule_list", "arguments": []}), -32602),
        (request("tools/call", {"name": "capsule_list", "arguments": "{}"}), -32602),
        (request("tools/call", {"name": "x" * 10_000}), -32602),
        (request("prompts/get", {"name": "nothing"}), -32602),
        (request("prompts/get", {"name": "memory-context", "arguments": {"topic": 1}}), -32602),
    ],
)
def test_a_request_that_cannot_be_answered_says_why(api: Api, message: dict[str, Any], code: int) -> None:
    answer = api.post("/mcp", message)
    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["error"]["code"]) == (1, code)
    assert len(answer.json()["error"]["message"]) < 300


def test_only_post_is_allowed(api: Api) -> None:
    for method in ("GET", "DELETE", "PUT", "OPTIONS"):
        answer = api(method, "/mcp")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_the_answer_is_json_or_refused(api: Api) -> None:
    for accepted in ("application/json, text/event-stream", "*/*", "application/*"):
        assert api.post("/mcp", PING, Accept=accepted).status_code == 200
    assert api.post("/mcp", PING, Accept="text/html").status_code == 406


def test_a_body_of_another_type_is_refused(api: Api) -> None:
    answer = api.post("/mcp", PING, Content_Type="text/plain")
    assert answer.status_code == 415


def test_without_a_key_the_way_in_is_named(api: Api) -> None:
    answer = api.post("/mcp", PING, Authorization="")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["error"]["data"]["code"] == "unauthenticated"


def test_a_page_of_an_unlisted_origin_is_refused(api: Api) -> None:
    answer = api.post("/mcp", PING, Origin="https://evil.example")
    assert answer.status_code == 403
    assert answer.json()["error"]["data"]["code"] == "origin_not_allowed"


def test_a_browsers_client_may_send_the_protocols_header(api: Api) -> None:
    asked = {"Origin": "https://app.example", "Access_Control_Request_Method": "POST"}
    answer = api("OPTIONS", "/mcp", **asked)
    assert answer.status_code == 204
    allowed = re.split(r",\s*", answer.headers["Access-Control-Allow-Headers"].lower())
    assert "mcp-protocol-version" in allowed


def test_every_call_of_a_batch_counts_against_the_limit(api: Api) -> None:
    before = int(api.post("/mcp", PING).headers["X-RateLimit-Remaining"])
    api.post("/mcp", [request("ping", message_id=n) for n in range(10)])
    assert int(api.post("/mcp", PING).headers["X-RateLimit-Remaining"]) == before - 11
