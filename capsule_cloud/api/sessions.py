"""Conversations: the engine's session routes, and ingesting several turns at once."""

from dataclasses import replace
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse

from billing.metering.meters import Meter
from billing.metering.services import record, usage_call
from billing.quotas.models import ParkedWrite
from billing.quotas.parking import park_ingest, park_open, park_seal
from billing.quotas.services import QuotaReached
from capsule_cloud.api.fields import Fraction, Many, Record, Text
from capsule_cloud.api.operations import Call, operation, reply
from capsule_cloud.api.shapes import FLAG, MOMENT, NUMBER, TEXT, WHOLE, many, perhaps, shape
from capsule_cloud.memory import limits
from capsule_cloud.memory.models import SkillTrigger
from capsule_cloud.memory.selectors import sessions as selectors
from capsule_cloud.memory.services import reads, sessions, triggers
from tenancy.roles import Right
from tenancy.scope import OfFirst, scope

DEFAULT_USER = "default"
HINT = "Tip: pass 'facts' and 'summary' in seal body to use host LLM extraction — no server LLM config needed."


def user_id(default: Any = DEFAULT_USER) -> Text:
    """The customer's own end user: free text."""
    return Text(name="user_id", default=default, low=1, high=limits.MAX_NAME_LENGTH, about="Your end user; free text.")


PARKED = {"is_parked": FLAG, "parked_id": TEXT}
WHOSE_SESSION = OfFirst("user_id")  # as `memory_ingest` tells it, named in the request or not
OWNER = Text(name="user_id", default=None, about="Only if the session is this end user's: else it is not found.")
TAGS = Many(name="tags", of=Text(low=1, high=limits.MAX_NAME_LENGTH), high=limits.MAX_TAGS, default=())
PAIR = (Text(name="user_message", low=1), Text(name="assistant_response", low=1))
FACT = Record(
    fields=(
        Text(name="key", default=None),
        Text(name="value", default=""),
        Fraction(name="confidence", default=0.9),
        Text(name="category", default="other"),
    )
)


@operation(
    "POST",
    "sessions",
    Right.MEMORY_WRITE,
    query=(user_id(), Text(name="session_id", default=None, low=1, high=limits.MAX_NAME_LENGTH)),
    answer=perhaps(shape(session_id=TEXT, user_id=TEXT), **PARKED),
    is_parkable=True,
)
def create_session(call: Call) -> HttpResponse:
    """Open a session, or find the open one that this end user has under this id."""
    actor = call.principal.actor
    try:
        with scope(call.principal.organization_id):
            session = sessions.open_session(project_id=call.project, actor=actor, **call.query)
            call.count_write(Meter.WRITE, end_user=session.user_id)
    except QuotaReached as reached:
        kept = park_open(reached, actor=actor, session_id=session.external_id)
        return parked(kept, {"session_id": session.external_id, "user_id": session.user_id})
    return reply({"session_id": session.external_id, "user_id": session.user_id})


@operation(
    "POST",
    "sessions/{session_id}/ingest",
    Right.MEMORY_WRITE,
    body=(
        Text(name="user_message", default="", about="What the end user said; at most 256 KiB."),
        Text(name="assistant_response", default="", about="What was answered; at most 256 KiB."),
        user_id(None),
        Many(
            name="turns",
            of=Record(fields=PAIR),
            low=1,
            high=limits.MAX_TURNS // 2,
            default=None,
            about="Several turns at once, instead of the two above: all are taken, or none.",
        ),
    ),
    answer=perhaps(
        shape(turn_id=WHOLE, session_id=TEXT, total_turns=WHOLE, pending_triggers=WHOLE),
        recalled_context=TEXT,
        recalled_facts_count=WHOLE,
        **PARKED,
    ),
    is_parkable=True,
)
def ingest_turn(call: Call, session_id: str) -> HttpResponse:
    """Take a turn of a conversation; it is on disk when this answers. An unknown session is opened.

    The first turn of a session brings back what is remembered about it.
    """
    pairs = call.body["turns"] or (call.body,)
    who, user = call.principal, call.body["user_id"]
    turns = [sessions.TurnPair(pair["user_message"], pair["assistant_response"]) for pair in pairs]
    try:
        with call.metered(Meter.INGEST, len(pairs), end_user=user or "", session_id=session_id) as use:
            result = sessions.ingest(
                organization_id=who.organization_id,
                project_id=who.project_id,
                session_id=session_id,
                turns=turns,
                user_id=user,
                actor=who.actor,
                also=(usage_call(use, end_user=WHOSE_SESSION),),
                reader=call.reader,
            )
    except QuotaReached as reached:
        kept = park_ingest(reached, actor=who.actor, session_id=session_id, turns=turns, user_id=user)
        nothing_yet = {"turn_id": 0, "session_id": session_id, "total_turns": 0, "pending_triggers": 0}
        return parked(kept, nothing_yet)
    answer: dict[str, Any] = {
        "turn_id": result.turn_id,
        "session_id": result.session_id,
        "total_turns": result.total_turns,
        "pending_triggers": result.pending_triggers,
    }
    if result.recalled_context is not None:
        answer["recalled_context"] = result.recalled_context
        answer["recalled_facts_count"] = result.recalled_facts_count
    return reply(answer)


@operation(
    "GET",
    "sessions/{session_id}/snapshot",
    Right.MEMORY_READ,
    query=(OWNER,),
    answer=shape(
        session_id=TEXT,
        user_id=TEXT,
        turn_count=WHOLE,
        is_active=FLAG,
        pending_triggers=WHOLE,
        confirmed_skills=WHOLE,
        started_at=MOMENT,
    ),
)
def get_snapshot(call: Call, session_id: str) -> HttpResponse:
    """Get the state of a session."""
    with scope(call.principal.organization_id):
        _check_owner(call, session_id, call.query["user_id"])
        snapshot = selectors.snapshot(project_id=call.project, session_id=session_id)
        reads.note(call.reader, "session", session_id=session_id, user_id=snapshot.user_id)
    call.count_read(Meter.READ, end_user=snapshot.user_id)
    return reply(snapshot)


@operation(
    "POST",
    "sessions/{session_id}/seal",
    Right.MEMORY_WRITE,
    body=(
        Text(name="title", default="", about="At most 2,000 bytes."),
        TAGS,
        Many(name="facts", of=FACT, high=limits.MAX_FACTS, default=(), about="What your own model found."),
        Text(name="summary", default="", about="Your own model's summary."),
        OWNER,
    ),
    answer=perhaps(
        shape(capsule_id=TEXT, title=TEXT, turn_count=WHOLE, type=TEXT, extraction=TEXT), hint=TEXT, **PARKED
    ),
    is_parkable=True,
)
def seal_session(call: Call, session_id: str) -> HttpResponse:
    """Seal a session into a capsule. Sealing it again answers with the same capsule."""
    actor, user = call.principal.actor, call.body.pop("user_id")
    values = _without_gaps(call.body)
    try:
        sealing = call.metered(Meter.SEAL, end_user=user or "", session_id=session_id)
        with sealing as use, scope(call.principal.organization_id):
            _check_owner(call, session_id, user)
            result = sessions.seal(project_id=call.project, session_id=session_id, actor=actor, **values)
            record(replace(use, end_user=result.user_id))
    except QuotaReached as reached:
        kept = park_seal(reached, actor=actor, session_id=session_id, user_id=user, **values)
        nothing_yet = {"capsule_id": "", "title": values["title"], "turn_count": 0, "type": "", "extraction": ""}
        return parked(kept, nothing_yet)
    answer = {
        "capsule_id": result.capsule_id,
        "title": result.title,
        "turn_count": result.turn_count,
        "type": result.type,
        "extraction": result.extraction,
    }
    return reply(answer if result.extraction == "host_llm" else answer | {"hint": HINT})


@operation(
    "GET",
    "sessions/{session_id}/triggers",
    Right.MEMORY_READ,
    query=(OWNER,),
    answer=shape(
        triggers=many(shape(event_id=TEXT, suggested_name=TEXT, confidence=NUMBER, trigger_rule=TEXT)), count=WHOLE
    ),
)
def get_session_triggers(call: Call, session_id: str) -> HttpResponse:
    """List the skills noticed in a session that wait for a decision."""
    with scope(call.principal.organization_id):
        _check_owner(call, session_id, call.query["user_id"])
        found = selectors.triggers(project_id=call.project, session_id=session_id)
        reads.note(call.reader, "triggers", session_id=session_id)
    call.count_read(Meter.READ)
    rows = [
        {
            "event_id": trigger.event_id,
            "suggested_name": trigger.suggested_name,
            "confidence": trigger.confidence,
            "trigger_rule": trigger.rule,
        }
        for trigger in found
    ]
    return reply({"triggers": rows, "count": len(rows)})


@operation(
    "POST",
    "sessions/{session_id}/triggers/{event_id}/confirm",
    Right.MEMORY_WRITE,
    body=(
        Text(name="resolution", default="", about=f"One of: {', '.join(SkillTrigger.Resolution.values)}."),
        OWNER,
    ),
    answer=shape(resolved=FLAG, event_id=TEXT),
)
def confirm_trigger(call: Call, session_id: str, event_id: str) -> HttpResponse:
    """Decide what becomes of a skill that was noticed."""
    with scope(call.principal.organization_id):
        _check_owner(call, session_id, call.body["user_id"])
        triggers.resolve(
            project_id=call.project,
            session_id=session_id,
            event_id=event_id,
            resolution=call.body["resolution"],
            actor=call.principal.actor,
        )
        call.count_write(Meter.WRITE)
    return reply({"resolved": True, "event_id": event_id})


@operation(
    "GET",
    "capsules/pending-triggers",
    Right.MEMORY_READ,
    query=(user_id(),),
    answer=shape(
        triggers=many(
            shape(
                event_id=TEXT,
                session_id=TEXT,
                trigger_rule=TEXT,
                skill_draft=shape(suggested_name=TEXT, confidence=NUMBER, preview=TEXT, trigger_rule=TEXT),
            )
        ),
        count=WHOLE,
    ),
)
def get_pending_triggers(call: Call) -> HttpResponse:
    """List the skills noticed in the open sessions of one end user, for the engine's widget."""
    user = call.query["user_id"]
    with scope(call.principal.organization_id):
        found = selectors.pending_triggers(project_id=call.project, user_id=user)
        reads.note(call.reader, "triggers", user_id=user)
    call.count_read(Meter.READ, end_user=user)
    rows = [
        {
            "event_id": trigger.event_id,
            "session_id": trigger.session.external_id,
            "trigger_rule": trigger.rule,
            "skill_draft": {
                "suggested_name": trigger.suggested_name,
                "confidence": trigger.confidence,
                "preview": trigger.preview,
                "trigger_rule": trigger.rule,
            },
        }
        for trigger in found
    ]
    return reply({"triggers": rows, "count": len(rows)})


def parked(write: ParkedWrite, nothing_yet: dict[str, Any]) -> HttpResponse:
    """The engine's answer without what is not known yet: the write waits for a cap to lift."""
    return reply(nothing_yet | {"is_parked": True, "parked_id": str(write.pk)}, HTTPStatus.ACCEPTED)


def _check_owner(call: Call, session_id: str, user_id: str | None) -> None:
    """Raise SessionNotFound for a session of another end user than the one that the request names, if it names one."""
    if user_id is not None and selectors.get_session(project_id=call.project, session_id=session_id).user_id != user_id:
        raise selectors.SessionNotFound(session_id)


def _without_gaps(body: dict[str, Any]) -> dict[str, Any]:
    """The body for `seal`: a fact without a key gets its number's, as the engine names it."""
    facts = [fact | {"key": fact["key"] or f"fact.{n}"} for n, fact in enumerate(body["facts"])]
    return body | {"facts": facts}


OPERATIONS = (
    ingest_turn,
    create_session,
    seal_session,
    get_snapshot,
    get_session_triggers,
    confirm_trigger,
    get_pending_triggers,
)
