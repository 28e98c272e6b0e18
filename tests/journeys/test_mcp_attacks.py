"""The MCP endpoint under attack: the same walls as over REST, no file of the server, and no message that breaks it."""

import base64
import json
from typing import Any

import pytest

from capsule_cloud.memory.models import SkillTrigger
from capsule_cloud.memory.services import sessions
from capsule_cloud.memory.services.sessions import TurnPair
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import keys, projects
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.memory.capsules_for_tests import memory, store
from tests.factories import Tenant, make_tenant

SECRET_FACT = "the vault opens with 4711"


class Agent:
    """A model with a key, that calls tools."""

    def __init__(self, tenant: Tenant, secret: str | None = None) -> None:
        self.api = Api(tenant)
        self.headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}

    def send(self, message: Any, **headers: str) -> Any:
        """The answer to one message."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return self.api("POST", "/mcp", body, **self.headers, **headers)

    def __call__(self, tool: str, **arguments: Any) -> tuple[str, bool]:
        """What a tool says, and whether it is an error."""
        params = {"name": tool, "arguments": arguments}
        answer = self.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        assert answer.status_code == 200, answer.content
        result = answer.json()["result"]
        return result["content"][0]["text"], result["isError"]


@pytest.fixture
def victim(tenant: Tenant) -> dict[str, str]:
    """What dana has in a tenant's first project."""
    [capsule] = store(tenant, memory(SECRET_FACT, title="Vault", user_id="dana"))
    sessions.ingest(
        organization_id=tenant.organization.pk,
        project_id=tenant.project.pk,
        session_id="danas",
        user_id="dana",
        turns=[TurnPair("Perfect, remember this release checklist.", "Tag, build, deploy, then watch Sentry.")],
        actor=tenant.actor,
    )
    with scope(tenant.organization):
        return {"capsule": capsule, "session": "danas", "event": SkillTrigger.objects.get().event_id}


@pytest.fixture(params=["another project", "another organization"])
def intruder(request: pytest.FixtureRequest, tenant: Tenant, victim: dict[str, str]) -> Agent:
    """An agent with a key of another project of the same organization, or of another organization."""
    if request.param == "another organization":
        return Agent(make_tenant())
    with scope(tenant.organization):
        other = projects.create(actor=tenant.actor, name="Other")
        maker = keys.Maker(tenant.actor, user=tenant.owner, role=Role.OWNER)
        scopes = ["memory:read", "memory:write", "memory:delete"]
        return Agent(tenant, keys.create(maker=maker, project_id=other.pk, name="Other", scopes=scopes).secret)


def test_no_tool_reaches_beyond_the_keys_project(tenant: Tenant, victim: dict[str, str], intruder: Agent) -> None:
    before = Agent(tenant)("capsule_list", user_id="dana")
    for tool, arguments in (
        ("capsule_export", {"capsule_id": victim["capsule"]}),
        ("capsule_export", {"capsule_id": victim["capsule"], "format": "prompt"}),
        ("capsule_seal", {"user_id": "dana"}),
        ("capsule_seal", {"user_id": "dana", "session_id": victim["session"]}),
        ("capsule_confirm_trigger", {"event_id": victim["event"], "resolution": "ignore", "user_id": "dana"}),
    ):
        text, is_error = intruder(tool, **arguments)
        assert is_error, (tool, text)
        assert "4711" not in text
    for tool in ("capsule_recall", "capsule_inject_context"):
        assert "4711" not in intruder(tool, query="vault", user_id="dana")[0]
    assert intruder("capsule_list", user_id="dana") == ("[]", False)
    assert json.loads(intruder("capsule_pending_triggers", user_id="dana")[0]) == {"pending": []}
    text, _ = intruder("capsule_ingest", user_message="a", assistant_response="b", session_id="danas", user_id="dana")
    assert json.loads(text)["total_turns"] == 2
    assert Agent(tenant)("capsule_list", user_id="dana") == before
    assert len(json.loads(Agent(tenant)("capsule_pending_triggers", user_id="dana")[0])["pending"]) == 1


def test_no_tool_takes_over_another_end_users_session(tenant: Tenant, victim: dict[str, str]) -> None:
    agent = Agent(tenant)
    for tool, arguments in (
        ("capsule_ingest", {"user_message": "a", "assistant_response": "b"}),
        ("capsule_seal", {}),
    ):
        for user in ({"user_id": "mallory"}, {}):
            text, is_error = agent(tool, session_id=victim["session"], **arguments, **user)
            assert is_error, (tool, text)
    _, is_error = agent("capsule_confirm_trigger", event_id=victim["event"], resolution="ignore", user_id="mallory")
    assert is_error


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../etc/passwd", "/etc/passwd.json", "file:///etc/passwd", "c:\\boot.txt"]
)
def test_no_tool_reads_or_writes_a_file_here(tenant: Tenant, victim: dict[str, str], path: str, db: None) -> None:
    agent = Agent(tenant)
    text, is_error = agent("capsule_export", capsule_id=victim["capsule"], output_path=path)
    assert is_error, text
    assert agent("capsule_import", file_path=path)[1]
    text, _ = agent("capsule_import", file_path=path, content="mine")
    assert "root" not in text
    assert agent("capsule_export", capsule_id=path)[1]


def test_an_import_by_a_tool_takes_nobodys_place(tenant: Tenant, victim: dict[str, str]) -> None:
    agent = Agent(tenant)
    file = json.loads(agent("capsule_export", capsule_id=victim["capsule"], format="json")[0])["content"]
    made, is_error = agent("capsule_import", content=file, file_path="c.json", user_id="mallory")
    assert not is_error
    assert json.loads(made)["capsule_id"] != victim["capsule"]
    assert len(json.loads(agent("capsule_list", user_id="dana")[0])) == 1
    tampered = file.replace("4711", "0815")
    assert agent("capsule_import", content=tampered, file_path="c.json", user_id="mallory")[1]


def test_no_export_by_a_tool_is_plain_that_was_asked_for_encrypted(tenant: Tenant, victim: dict[str, str]) -> None:
    agent = Agent(tenant)
    for more in ({}, {"passphrase": "short"}, {"passphrase": "long-enough", "format": "prompt"}):
        text, is_error = agent("capsule_export", **{"capsule_id": victim["capsule"], "encrypt": True} | more)
        assert is_error
        assert "4711" not in text


WRONG: list[Any] = [7, None, [], {}, True, "", "a\x00b", "a\ud800b", "x" * 300_000]


def test_no_argument_of_a_tool_breaks_it(tenant: Tenant, victim: dict[str, str]) -> None:
    agent = Agent(tenant)
    listed = agent.send({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).json()["result"]["tools"]
    for tool in listed:
        required = dict.fromkeys(tool["inputSchema"]["required"], "x")
        for name in tool["inputSchema"]["properties"]:
            for value in WRONG:
                params = {"name": tool["name"], "arguments": required | {name: value}}
                answer = agent.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
                assert answer.status_code in {200, 400}, (tool["name"], name, str(value)[:20], answer.content)
    for content in (b"\x81" * 1000, b"\xdd\xff\xff\xff\xff", b"\x80"):
        packed = base64.b64encode(content).decode()
        assert agent("capsule_import", content=packed, file_path="c.capsule", encoding="base64")[1]


PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
MESSAGES: list[Any] = [
    b"{",
    b"\xff",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    [],
    [PING] * 1_000,
    [[PING]],
    [7],
    7,
    None,
    {},
    PING | {"jsonrpc": "1.0"},
    PING | {"id": {}},
    PING | {"id": 1.5},
    PING | {"id": None},
    PING | {"method": 7},
    PING | {"params": []},
    PING | {"method": "tools/call", "params": {"name": {}, "arguments": 7}},
    PING | {"method": "tools/call", "params": {"name": "__class__", "arguments": {}}},
    PING | {"method": "tools/list", "params": {"cursor": "x"}},
    PING | {"method": "prompts/get", "params": {"name": "memory-context", "arguments": {"topic": 7}}},
    PING | {"method": "x" * 100_000},
    PING | {"method": "resources/read", "params": {"uri": "file:///etc/passwd"}},
]


def test_no_message_breaks_the_endpoint(tenant: Tenant) -> None:
    agent = Agent(tenant)
    for message in MESSAGES:
        answer = agent.send(message)
        assert answer.status_code in {200, 400}, (str(message)[:60], answer.content)
        assert "error" in answer.json(), str(message)[:60]
    assert agent.send(PING).json()["result"] == {}
