"""The ten tools: the engine's names and schemas, our limits, scopes, counts and audit; and never a path."""

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from capsule_memory.server.mcp_server import _build_server
from mcp.types import ListPromptsRequest, ListToolsRequest

from billing.metering.models import UsageEvent
from billing.metering.services import ship
from capsule_cloud.api.mcp_prompts import MEMORY_CONTEXT
from capsule_cloud.api.mcp_tools import TOOLS
from capsule_cloud.memory.models import Capsule, Session
from tenancy.audit.models import AuditEvent
from tenancy.roles import KeyScope
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, make_tenant

TURN = {"user_message": "We ship on Tuesdays.", "assistant_response": "Noted: Tuesdays."}
BOOKMARK = {"user_message": "Perfect, remember this.", "assistant_response": "Tag, build, deploy, watch Sentry."}


def call(api: Api, name: str, **arguments: Any) -> tuple[Any, bool]:
    """What a tool answers (as JSON where it is), and whether that is an error."""
    params = {"name": name, "arguments": arguments}
    answer = api.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    assert answer.status_code == 200, answer.content
    result = answer.json()["result"]
    [content] = result["content"]
    text = content["text"]
    return (json.loads(text) if text[:1] in "{[" else text), result["isError"]


def done(api: Api, name: str, **arguments: Any) -> Any:
    """The answer of a tool that works."""
    answer, is_error = call(api, name, **arguments)
    assert not is_error, answer
    return answer


def refused(api: Api, name: str, **arguments: Any) -> str:
    """The reason of a tool that does not."""
    answer, is_error = call(api, name, **arguments)
    assert is_error, answer
    return str(answer["error"])


def capsule(api: Api, **options: Any) -> str:
    """A sealed capsule's id."""
    done(api, "capsule_ingest", **TURN)
    return str(done(api, "capsule_seal", **options)["capsule_id"])


# --- as the engine's ---


def engine_lists(kind: Any, method: str) -> Any:
    """What the engine's own server answers to a request for a list."""
    return anyio.run(_build_server().request_handlers[kind], kind(method=method)).root


def test_every_tool_takes_what_the_engines_takes() -> None:
    theirs = engine_lists(ListToolsRequest, "tools/list").tools
    assert {tool.name for tool in theirs} == set(TOOLS)
    for tool in theirs:
        ours = TOOLS[tool.name].description["inputSchema"]
        properties = tool.inputSchema["properties"]
        assert set(properties) <= set(ours["properties"]), tool.name
        for name, wanted in properties.items():
            had = ours["properties"][name]
            assert {key: had.get(key) for key in ("type", "enum", "minimum", "maximum") if key in wanted} == {
                key: wanted[key] for key in ("type", "enum", "minimum", "maximum") if key in wanted
            }, f"{tool.name}.{name}"
        # content instead of a path that the server would read
        required = ["content"] if tool.name == "capsule_import" else tool.inputSchema.get("required", [])
        assert ours["required"] == required, tool.name


def test_the_prompt_takes_what_the_engines_takes() -> None:
    [theirs] = engine_lists(ListPromptsRequest, "prompts/list").prompts
    assert MEMORY_CONTEXT["name"] == theirs.name
    wanted = [(one.name, one.required) for one in theirs.arguments]
    assert [(one["name"], one["required"]) for one in MEMORY_CONTEXT["arguments"]] == wanted


# --- sessions ---


def test_without_a_session_id_the_newest_open_session_of_the_user_goes_on(api: Api) -> None:
    first = done(api, "capsule_ingest", **TURN, user_id="dana")["session_id"]
    other = done(api, "capsule_ingest", **TURN, user_id="erin")["session_id"]
    done(api, "capsule_ingest", **TURN, user_id="dana", session_id="chosen")
    assert first != other
    assert done(api, "capsule_ingest", **TURN, user_id="dana")["session_id"] == "chosen"
    done(api, "capsule_seal", user_id="dana")
    assert done(api, "capsule_ingest", **TURN, user_id="dana")["session_id"] == first
    done(api, "capsule_seal", user_id="dana", session_id=first)
    assert "has no open session" in refused(api, "capsule_seal", user_id="dana")


def test_a_full_session_is_followed_by_a_new_one(api: Api) -> None:
    done(api, "capsule_ingest", **TURN, session_id="long")
    pairs = [TURN] * 249
    assert api.post("/api/v1/sessions/long/ingest", {"turns": pairs}).status_code == 200
    after = done(api, "capsule_ingest", **TURN)
    assert (after["session_id"] != "long", after["total_turns"]) == (True, 2)
    assert "at most 500" in refused(api, "capsule_ingest", **TURN, session_id="long")


def test_a_sealed_session_takes_no_more(api: Api) -> None:
    session_id = done(api, "capsule_ingest", **TURN)["session_id"]
    done(api, "capsule_seal")
    assert "is sealed" in refused(api, "capsule_ingest", **TURN, session_id=session_id)


def test_a_session_of_another_end_user_is_not_entered(api: Api) -> None:
    done(api, "capsule_ingest", **TURN, user_id="dana", session_id="s")
    assert "belongs to another user" in refused(api, "capsule_ingest", **TURN, user_id="erin", session_id="s")


def test_the_first_turn_of_a_session_brings_what_is_known(api: Api) -> None:
    capsule(api, facts=[{"key": "decision.day", "value": "Releases are on Tuesdays"}])
    first = done(api, "capsule_ingest", user_message="When do we release?", assistant_response="Let me see.")
    assert "Releases are on Tuesdays" in first["recalled_context"]


def test_a_decision_can_be_changed_until_the_seal(api: Api) -> None:
    done(api, "capsule_ingest", **BOOKMARK, user_id="dana")
    [trigger] = done(api, "capsule_pending_triggers", user_id="dana")["pending"]
    decide = {"event_id": trigger["event_id"], "user_id": "dana"}
    done(api, "capsule_confirm_trigger", **decide, resolution="ignore")
    assert done(api, "capsule_pending_triggers", user_id="dana") == {"pending": []}
    done(api, "capsule_confirm_trigger", **decide, resolution="extract_skill")
    done(api, "capsule_seal", user_id="dana")
    found = done(api, "capsule_recall", query="deploy and watch Sentry", user_id="dana")
    assert [skill["name"] for skill in found["skills"]] == [found["skills"][0]["skill_name"]]


def test_the_triggers_of_another_end_user_are_out_of_reach(api: Api) -> None:
    done(api, "capsule_ingest", **BOOKMARK, user_id="dana")
    [trigger] = done(api, "capsule_pending_triggers", user_id="dana")["pending"]
    assert done(api, "capsule_pending_triggers", user_id="erin") == {"pending": []}
    decide = {"event_id": trigger["event_id"], "resolution": "ignore", "user_id": "erin"}
    assert "no open session" in refused(api, "capsule_confirm_trigger", **decide)
    done(api, "capsule_ingest", **TURN, user_id="erin")
    assert "not found" in refused(api, "capsule_confirm_trigger", **decide)


# --- files ---


def test_no_path_is_written(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    capsule_id = capsule(api)
    for path in (str(tmp_path / "out.json"), "out.json", "../out.json"):
        reason = refused(api, "capsule_export", capsule_id=capsule_id, output_path=path)
        assert "no file is written here" in reason
    done(api, "capsule_export", capsule_id=capsule_id)
    assert list(tmp_path.iterdir()) == []


def test_no_path_is_read(api: Api, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("swordfish")
    assert "content" in refused(api, "capsule_import", file_path=str(secret))
    made = done(api, "capsule_import", file_path=str(secret), content="The sky is blue.")
    assert made["type"] == "context"
    with scope(api.tenant.organization):
        [kept] = Capsule.objects.all()
    assert "swordfish" not in kept.document
    assert str(tmp_path) not in kept.document


@pytest.mark.parametrize("file_format", ["json", "msgpack", "universal", "prompt"])
def test_an_export_is_an_import(api: Api, file_format: str) -> None:
    capsule_id = capsule(api, title="Releases")
    file = done(api, "capsule_export", capsule_id=capsule_id, format=file_format)
    content = base64.b64decode(file["content"]) if file["encoding"] == "base64" else file["content"].encode()
    assert (file["format"], file["size_bytes"]) == (file_format, len(content))
    again = done(
        api,
        "capsule_import",
        file_path=file["filename"],
        content=file["content"],
        encoding=file["encoding"],
        user_id="erin",
    )
    assert done(api, "capsule_list", user_id="erin")[0]["capsule_id"] == again["capsule_id"]


def test_an_encrypted_export_needs_its_passphrase(api: Api) -> None:
    capsule_id = capsule(api, summary="swordfish")
    assert "passphrase" in refused(api, "capsule_export", capsule_id=capsule_id, format="json", encrypt=True)
    sealed = done(api, "capsule_export", capsule_id=capsule_id, format="json", encrypt=True, passphrase="correct horse")
    assert "swordfish" not in sealed["content"]
    refused(api, "capsule_import", content=sealed["content"], user_id="erin", passphrase="battery staple")
    done(api, "capsule_import", content=sealed["content"], user_id="erin", passphrase="correct horse")
    assert "swordfish" in done(api, "capsule_inject_context", query="swordfish", user_id="erin")


def test_a_tampered_file_is_refused_and_leaves_nothing(api: Api) -> None:
    file = done(api, "capsule_export", capsule_id=capsule(api), format="json")["content"]
    refused(api, "capsule_import", content=file.replace("Tuesdays", "Fridays"), user_id="erin")
    for content in ("", "{", "[]", '{"capsule_id": "x"}', "\x00"):
        refused(api, "capsule_import", content=content, user_id="erin")
    assert "base64" in refused(api, "capsule_import", content="no base64", encoding="base64", user_id="erin")
    assert done(api, "capsule_list", user_id="erin") == []


# --- limits, scopes, counts ---

JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e300, 2**63, "", " ", "\x00", "x" * 300, "x" * 262_145, [], [None], [1], ["\x00"], {},
    {"a": 1}, "../../etc/passwd", "cap_x'; DROP TABLE memory_capsule; --",
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_nonsense_is_refused_or_taken_but_never_a_failure_of_ours(api: Api, name: str) -> None:
    good = {"user_message": "a", "assistant_response": "b", "query": "a", "capsule_id": capsule(api), "content": "{}"}
    good |= {"event_id": "evt_x", "resolution": "ignore", "skill_description": "a"}
    fields = [field.name for field in TOOLS[name].fields]
    usual = {field: value for field, value in good.items() if field in fields}
    for field in fields:
        for junk in JUNK:
            answer, is_error = call(api, name, **usual | {field: junk})
            assert not is_error or 0 < len(answer["error"]) < 1000


def test_what_is_over_a_limit_says_which(api: Api) -> None:
    assert "262144 bytes" in refused(api, "capsule_ingest", user_message="x" * 262_145, assistant_response="y")
    assert "top_k" in refused(api, "capsule_recall", query="x", top_k=11)
    assert "limit" in refused(api, "capsule_list", limit=101)
    assert "user_id" in refused(api, "capsule_list", user_id="u" * 256)
    assert "facts" in refused(api, "capsule_seal", facts=[{"key": "a"}])


def test_a_capsule_that_is_not_there_is_not_found(api: Api) -> None:
    assert "not found" in refused(api, "capsule_export", capsule_id="cap_20260101_4240_0123456789ab").lower()


@pytest.mark.django_db
def test_a_key_does_only_what_its_scopes_allow() -> None:
    reader = Api(make_tenant(scopes=[KeyScope.MEMORY_READ]))
    writer = Api(make_tenant(scopes=[KeyScope.MEMORY_WRITE]))
    assert refused(reader, "capsule_ingest", **TURN) == "This key lacks the scope memory:write."
    assert refused(writer, "capsule_recall", query="x") == "This key lacks the scope memory:read."
    for name, tool in TOOLS.items():
        assert tool.right in {"memory:read", "memory:write"}
        allowed, other = (reader, writer) if tool.right == "memory:read" else (writer, reader)
        assert "lacks the scope" in refused(other, name)
        answer, _ = call(allowed, name)
        assert "lacks the scope" not in str(answer)


def test_every_call_is_counted_once_and_every_write_is_audited(transactional_db: None) -> None:
    tenant: Tenant = make_tenant()
    api = Api(tenant)
    done(api, "capsule_ingest", **BOOKMARK, user_id="dana")
    [trigger] = done(api, "capsule_pending_triggers", user_id="dana")["pending"]
    done(api, "capsule_confirm_trigger", event_id=trigger["event_id"], resolution="ignore", user_id="dana")
    capsule_id = done(api, "capsule_seal", user_id="dana")["capsule_id"]
    done(api, "capsule_recall", query="deploy", user_id="dana")
    done(api, "capsule_inject_context", query="deploy", user_id="dana")
    done(api, "capsule_list", user_id="dana")
    file = done(api, "capsule_export", capsule_id=capsule_id, format="json")
    done(api, "capsule_import", content=file["content"], user_id="erin")
    done(api, "capsule_extract_skill", skill_description="Roll back: redeploy the tag before.", user_id="dana")
    refused(api, "capsule_recall", query="")
    ship()
    with scope(tenant.organization):
        counted = Counter(UsageEvent.objects.values_list("meter", flat=True))
        audited = Counter(AuditEvent.objects.filter(action__startswith="memory").values_list("action", flat=True))
        assert {event.actor["id"] for event in AuditEvent.objects.filter(action__startswith="memory")} == {
            str(tenant.key.pk)
        }
        assert Session.objects.count() == 1
    assert counted == {"ingest": 1, "seal": 1, "recall": 2, "read": 2, "write": 2, "export": 1, "import": 1}
    assert audited == {
        "memory.session.ingested": 1,
        "memory.trigger.resolved": 1,
        "memory.session.sealed": 1,
        "memory.capsule.exported": 1,
        "memory.capsule.imported": 1,
        "memory.skill.created": 1,
    }


def test_what_was_refused_leaves_no_trace(api: Api) -> None:
    refused(api, "capsule_ingest", user_message="a\x00b", assistant_response="c")
    refused(api, "capsule_seal")
    with scope(api.tenant.organization):
        assert not Session.objects.exists()
        assert not UsageEvent.objects.exists()
        assert not AuditEvent.objects.filter(action__startswith="memory").exists()
