"""The ten tools that MCP clients see: the engine's names, on the services that the REST routes call."""

import base64
import binascii
import secrets
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import orjson

from billing.metering.meters import Meter
from billing.metering.services import record
from billing.quotas.models import ParkedWrite
from billing.quotas.parking import live_session, park_change, park_import
from billing.quotas.services import QuotaReached
from capsule_cloud.api import recall, sessions
from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.fields import Choice, Field, Flag, Many, Record, Text, Whole
from capsule_cloud.api.limits import ENCRYPTION_WEIGHT
from capsule_cloud.api.mcp_calls import Arguments, Run, Tool, answered_by, as_json
from capsule_cloud.api.operations import Call
from capsule_cloud.memory import limits
from capsule_cloud.memory.models import Capsule, SkillTrigger
from capsule_cloud.memory.selectors.capsules import list_capsules
from capsule_cloud.memory.selectors.sessions import pending_triggers as waiting_triggers
from capsule_cloud.memory.services import reads
from capsule_cloud.memory.services.sessions import SessionFull, SessionSealed
from capsule_cloud.memory.services.skills import create_skill
from capsule_cloud.memory.services.transfer import ExportFormat, export_capsule, import_capsule
from tenancy.roles import Right
from tenancy.scope import scope

BINARY = "application/octet-stream"
USER = sessions.user_id()
SESSION = Text(
    name="session_id",
    default=None,
    low=1,
    high=limits.MAX_NAME_LENGTH,
    about="Which session. Without it: the newest open one of user_id.",
)
FACT = Record(
    fields=(
        Text(name="key", low=1, about="category.name, such as technical_preference.python_formatter"),
        Text(name="value", low=1, about="What is true"),
        Choice(
            name="category",
            default="other",
            words=("technical_preference", "project_info", "user_preference", "decision", "constraint", "other"),
        ),
    )
)


TOOLS: dict[str, Tool] = {}


def tool(name: str, title: str, right: Right, *fields: Field) -> Callable[[Run], Tool]:
    """Make a function a tool; its docstring is what the model reads."""

    def make(run: Run) -> Tool:
        about = " ".join((run.__doc__ or "").split())
        made = TOOLS[name] = Tool(name, title, about, right, fields, run)
        return made

    return make


@tool(
    "capsule_ingest",
    "Remember an exchange",
    Right.MEMORY_WRITE,
    Text(name="user_message", low=1, about="What the person said"),
    Text(name="assistant_response", low=1, about="What you answered"),
    USER,
    SESSION,
)
def ingest(call: Call, arguments: Arguments) -> str:
    """Add one exchange to the person's open memory session, or open one. The first exchange of a session brings back
    what is known already, as recalled_context.
    """
    session_id = arguments["session_id"] or _live_session(call, arguments["user_id"])
    if session_id is not None:
        try:
            return answered_by(sessions.ingest_turn, call, arguments, session_id=session_id)
        except (SessionSealed, SessionFull):
            if arguments["session_id"] is not None:
                raise
    return answered_by(sessions.ingest_turn, call, arguments, session_id=f"sess_{secrets.token_hex(6)}")


@tool(
    "capsule_seal",
    "Seal the session",
    Right.MEMORY_WRITE,
    USER,
    Text(name="title", default="", about="The capsule's title"),
    sessions.TAGS,
    Text(name="summary", default="", about="The conversation in 100 to 300 words: decisions, topics, context"),
    Many(name="facts", of=FACT, high=limits.MAX_FACTS, default=(), about="What is worth remembering for long"),
    SESSION,
)
def seal(call: Call, arguments: Arguments) -> str:
    """Turn the person's open session into a capsule that lasts. Pass the facts and the summary that you extracted from
    the conversation: they are better than what rules find without them.
    """
    session_id = arguments["session_id"] or _live_session(call, arguments["user_id"])
    if session_id is None:
        raise ApiError("not_found", f"{arguments['user_id']} has no open session: call capsule_ingest first.")
    return answered_by(sessions.seal_session, call, arguments, session_id=session_id)


@tool(
    "capsule_recall",
    "Recall memories",
    Right.MEMORY_READ,
    Text(name="query", low=1, about="A topic or a question"),
    USER,
    Whole(name="top_k", default=3, low=1, high=10, about="From how many capsules"),
    Flag(name="include_skills", default=True),
)
def recall_memories(call: Call, arguments: Arguments) -> str:
    """Recall what fits a topic or a question: facts, skills, a summary, and prompt_injection, the same as one text."""
    found = _recalled(call, arguments)
    return as_json(found if arguments["include_skills"] else found | {"skills": []})


@tool("capsule_inject_context", "Recall as text", Right.MEMORY_READ, Text(name="query", low=1), USER)
def inject_context(call: Call, arguments: Arguments) -> str:
    """Recall what fits a topic or a question as one block of plain text, ready for a system prompt."""
    call.read_as = "inject"
    return str(_recalled(call, arguments)["prompt_injection"])


@tool(
    "capsule_list",
    "List capsules",
    Right.MEMORY_READ,
    USER,
    Choice(name="capsule_type", default=None, words=tuple(Capsule.Type.values)),
    sessions.TAGS,
    Whole(name="limit", default=20, low=1, high=100),
)
def list_capsules_of_user(call: Call, arguments: Arguments) -> str:
    """List the person's capsules, newest first: all of them, or those of one type or with every one of some tags."""
    with scope(call.principal.organization_id):
        rows = list_capsules(project_id=call.project, **arguments)
        reads.note(call.reader, "list", [row.capsule_id for row in rows], user_id=arguments["user_id"])
    call.count_read(Meter.READ, end_user=arguments["user_id"])
    return as_json(
        [
            {
                "capsule_id": row.capsule_id,
                "type": row.capsule_type,
                "title": row.title,
                "tags": row.tags,
                "sealed_at": row.sealed_at,
                "turn_count": row.turn_count,
            }
            for row in rows
        ]
    )


@tool(
    "capsule_export",
    "Export a capsule",
    Right.MEMORY_READ,
    Text(name="capsule_id", low=1, high=limits.MAX_NAME_LENGTH),
    Choice(name="format", default=ExportFormat.UNIVERSAL.value, words=tuple(ExportFormat)),
    Flag(name="encrypt", default=False),
    Text(name="passphrase", default="", about="Encrypts the content of json and msgpack"),
    Text(name="output_path", default=None, about="Not used here: the content is in the result. Leave it out."),
)
def export(call: Call, arguments: Arguments) -> str:
    """Export a capsule: the result has its content (base64 when encoding says so) and the organization's signature."""
    if arguments["output_path"] is not None:
        raise ApiError(
            "invalid", "output_path: no file is written here; leave it out and take content from the result."
        )
    if arguments["encrypt"]:
        call.weigh(ENCRYPTION_WEIGHT)
    with scope(call.principal.organization_id):
        file = export_capsule(
            project_id=call.project,
            capsule_id=arguments["capsule_id"],
            file_format=arguments["format"],
            encrypt=arguments["encrypt"],
            passphrase=arguments["passphrase"],
            actor=call.principal.actor,
        )
        call.count_write(Meter.EXPORT)
    is_text = file.content_type != BINARY
    return as_json(
        {
            "filename": file.filename,
            "format": arguments["format"],
            "size_bytes": len(file.content),
            "encoding": "text" if is_text else "base64",
            "content": file.content.decode() if is_text else base64.b64encode(file.content).decode(),
            "signature": file.signature.value,
            "signature_key": file.signature.key_id,
        }
    )


@tool(
    "capsule_import",
    "Import a capsule",
    Right.MEMORY_WRITE,
    Text(name="content", low=1, about="What the file holds"),
    Text(
        name="file_path",
        default="capsule.json",
        low=1,
        high=1000,
        about="The file's name: its ending says the format (.json, .capsule, .txt). No file is read here.",
    ),
    Choice(name="encoding", default=None, words=("text", "base64"), about="Of content; base64 for .capsule"),
    USER,
    Text(name="passphrase", default=""),
)
def import_content(call: Call, arguments: Arguments) -> str:
    """Import a capsule from the content of a file (JSON, universal format, msgpack, or plain text)."""
    filename = PurePosixPath(arguments["file_path"].replace("\\", "/")).name
    is_base64 = (arguments["encoding"] or ("base64" if filename.endswith(".capsule") else "text")) == "base64"
    if arguments["passphrase"]:
        call.weigh(ENCRYPTION_WEIGHT)
    actor, user = call.principal.actor, arguments["user_id"]
    sent = {
        "filename": filename,
        "content": _from_base64(arguments["content"]) if is_base64 else arguments["content"].encode(),
        "user_id": user,
        "passphrase": arguments["passphrase"],
    }
    try:
        with call.metered(Meter.IMPORT, end_user=user) as use, scope(call.principal.organization_id):
            made = import_capsule(project_id=call.project, actor=actor, **sent)
            record(use)
    except QuotaReached as reached:
        kept = park_import(reached, actor=actor, **sent)
        return as_json({"capsule_id": "", "type": "", "title": "", "is_parked": True, "parked_id": str(kept.pk)})
    return as_json({"capsule_id": made.capsule_id, "type": made.capsule_type, "title": made.title})


@tool("capsule_pending_triggers", "Skills waiting for a decision", Right.MEMORY_READ, USER)
def pending_triggers(call: Call, arguments: Arguments) -> str:
    """List the reusable skills that were noticed in the person's open sessions and wait for their decision."""
    waiting = orjson.loads(answered_by(sessions.get_pending_triggers, call, arguments))["triggers"]
    return as_json({"pending": [{"event_id": one["event_id"], **one["skill_draft"]} for one in waiting]})


@tool(
    "capsule_confirm_trigger",
    "Decide about a skill",
    Right.MEMORY_WRITE,
    Text(name="event_id", low=1, high=limits.MAX_NAME_LENGTH),
    Choice(name="resolution", words=tuple(SkillTrigger.Resolution.values)),
    USER,
)
def confirm_trigger(call: Call, arguments: Arguments) -> str:
    """Say what becomes of a skill that was noticed: extract it, merge it into the memory, ignore it, or never again."""
    event_id, user_id = arguments["event_id"], arguments["user_id"]
    with scope(call.principal.organization_id):
        waiting = waiting_triggers(project_id=call.project, user_id=user_id)
    session_id = next((one.session.external_id for one in waiting if one.event_id == event_id), None)
    session_id = session_id or _live_session(call, user_id)  # a decision can be changed until the seal
    if session_id is None:
        raise ApiError("not_found", f"{user_id} has no open session.")
    return answered_by(sessions.confirm_trigger, call, arguments, session_id=session_id, event_id=event_id)


@tool(
    "capsule_extract_skill",
    "Write down a skill",
    Right.MEMORY_WRITE,
    Text(name="skill_description", low=1, about="What it is for, when it applies and how it is done"),
    Text(name="skill_name", default="", about="Without it: the beginning of the description"),
    sessions.TAGS,
    USER,
)
def extract_skill(call: Call, arguments: Arguments) -> str:
    """Write down a reusable skill that the person describes in words."""
    actor, values = (
        call.principal.actor,
        {
            "user_id": arguments["user_id"],
            "description": arguments["skill_description"],
            "name": arguments["skill_name"],
            "tags": arguments["tags"],
        },
    )
    try:
        with scope(call.principal.organization_id):
            skill = create_skill(project_id=call.project, actor=actor, **values)
            call.count_write(Meter.WRITE, end_user=arguments["user_id"])
    except QuotaReached as reached:
        kept = park_change(reached, ParkedWrite.Kind.SKILL, actor=actor, **values)
        waits = {"is_parked": True, "parked_id": str(kept.pk)}
        return as_json({"skill_capsule_id": "", "skill_name": skill.title, **waits})
    return as_json({"skill_capsule_id": skill.capsule_id, "skill_name": skill.title})


def _recalled(call: Call, arguments: Arguments) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(answered_by(recall.recall_memories, call, arguments))
    return found


def _live_session(call: Call, user_id: str) -> str | None:
    with scope(call.principal.organization_id):
        return live_session(project_id=call.project, user_id=user_id)


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError("invalid", "content: not base64.") from None
