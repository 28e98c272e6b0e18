"""Writes conversations: opens a session, takes its turns, and seals it into a capsule."""

import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

import orjson
import uuid_utils.compat as uuid_utils
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Left
from django.utils import timezone

from capsule_cloud.memory import conversation, limits
from capsule_cloud.memory.engine import MemoryPayload
from capsule_cloud.memory.models import Session, SkillTrigger, Turn
from capsule_cloud.memory.selectors.recall import recall
from capsule_cloud.memory.selectors.sessions import SessionNotFound, get_session
from capsule_cloud.memory.services import reads
from capsule_cloud.memory.services.reads import Reader
from capsule_cloud.memory.storage import TenantStorage, visible
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record, record_call
from tenancy.scope import SqlCall, current_organization_id, one_trip
from tenancy.webhooks.catalogue import CAPSULE_CREATED, SESSION_SEALED
from tenancy.webhooks.events import emit

log = logging.getLogger("memory.sessions")

DEFAULT_USER = "default"
RECALLED_AT_FIRST = 3  # capsules
READ_AS_QUERY = 4_000  # characters of the first question
# Characters of each turn that the engine reads at a seal. Its rules keep 200 of them and look for names of technologies
# in the rest; 500 turns of 256 KiB would otherwise be 128 MB of text in one worker.
READ_OF_A_TURN = 16_000


class SessionBelongsToAnother(Exception):
    """The session id is taken by another end user of the project."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Session {session_id} belongs to another user")


class SessionSealed(Exception):
    """The session is sealed: it takes no more turns and decisions."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Session {session_id} is sealed")


class SessionFull(Exception):
    """The session has no room for these turns: seal it and open another."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Session {session_id} holds at most {limits.MAX_TURNS} turns: seal it and open another")


# What the SQL functions raise (migrations 0002 and 0004).
_REFUSALS: dict[str | None, type[Exception]] = {
    "CMS01": SessionBelongsToAnother,
    "CMS02": SessionSealed,
    "CMS03": SessionFull,
    "CMS04": SessionNotFound,  # the organization has no such project
    "42501": SessionNotFound,  # row security: the session is of another organization's project
}


@dataclass(frozen=True, slots=True)
class TurnPair:
    """What the end user said and what was answered."""

    user_message: str
    assistant_response: str


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The number of the (first) question taken, and the session after it.

    The first turn of a session also brings what is remembered about it, as text for a prompt; None when nothing is.
    """

    turn_id: int
    session_id: str
    total_turns: int
    pending_triggers: int
    recalled_context: str | None = None
    recalled_facts_count: int = 0


@dataclass(frozen=True, slots=True)
class SealResult:
    """The capsule that a session became, and whose it is."""

    capsule_id: str
    title: str
    turn_count: int
    type: str
    extraction: str
    user_id: str


def open_session(
    *,
    project_id: UUID,
    user_id: str = DEFAULT_USER,
    session_id: str | None = None,
    agent_id: str = "",
    origin_platform: str = "unknown",
    actor: Actor,
) -> Session:
    """Open a session, or return the open one that the same user has under this id. Without an id it gets one.

    Raises InvalidInput, SessionBelongsToAnother, SessionSealed; SessionNotFound when the project does not exist.
    """
    limits.name("user_id", user_id)
    session_id = f"sess_{secrets.token_hex(6)}" if session_id is None else limits.name("session_id", session_id)
    limits.text("agent_id", agent_id, max_bytes=limits.MAX_NAME_LENGTH)
    limits.text("origin_platform", origin_platform, max_bytes=limits.MAX_NAME_LENGTH)
    with transaction.atomic(), _refusals(session_id), connection.cursor() as cursor:
        cursor.execute(
            "SELECT memory_open_session(%s, %s, %s, %s, %s, %s)",
            [current_organization_id(), project_id, session_id, user_id, agent_id, origin_platform],
        )
        is_new = cursor.fetchone() == (True,)
        session = get_session(project_id=project_id, session_id=session_id)
        if session.user_id != user_id:
            raise SessionBelongsToAnother(session_id)
        if session.sealed_at is not None:
            raise SessionSealed(session_id)
        if is_new:
            record(action=actions.MEMORY_SESSION_OPENED, actor=actor, target=session_target(session_id))
    return session


def ingest(
    *,
    organization_id: UUID,
    project_id: UUID,
    session_id: str,
    turns: Sequence[TurnPair],
    user_id: str | None = None,
    actor: Actor,
    also: Sequence[SqlCall] = (),
    reader: Reader | None = None,
) -> IngestResult:
    """Take question and answer, one pair or several: all or none, and on disk when this returns.

    An unknown session is opened, for `user_id` or the default user; None writes to a session whoever opened it. `also`
    happens in the same transaction, as the audit event does. `reader`: what a first turn brings back is recorded as a
    read. Needs no scope: it is one round trip, or two when an
    answer has code or numbered steps to compare with earlier ones. Raises InvalidInput, TooLarge, SessionFull,
    SessionBelongsToAnother, SessionSealed; SessionNotFound when the project does not exist.
    """
    check_ingest(session_id=session_id, turns=turns, user_id=user_id)
    noticed = _notice(organization_id, project_id, session_id, turns)
    with _refusals(session_id):
        [(owner, turn_id, total, pending)] = one_trip(
            organization_id,
            _ingest_call(project_id, session_id, user_id, turns, noticed),
            record_call(
                action=actions.MEMORY_SESSION_INGESTED,
                actor=actor,
                target=session_target(session_id),
                metadata={"turns": 2 * len(turns)},
                organization_id=organization_id,
            ),
            *also,
        )
    result = IngestResult(turn_id, session_id, total, pending)
    if turn_id != 1:
        return result
    return _with_memories(result, organization_id, project_id, owner, turns[0].user_message, reader)


def check_ingest(*, session_id: str, turns: Sequence[TurnPair], user_id: str | None = None) -> None:
    """Refuse what `ingest` would refuse whatever the session holds. Raises InvalidInput, TooLarge or SessionFull."""
    limits.name("session_id", session_id)
    if user_id is not None:
        limits.name("user_id", user_id)
    _check_turns(session_id, turns)


def seal(
    *,
    project_id: UUID,
    session_id: str,
    title: str = "",
    tags: Sequence[str] = (),
    facts: Sequence[dict[str, Any]] = (),
    summary: str = "",
    actor: Actor,
) -> SealResult:
    """Make a session's capsule, once: sealing a sealed session returns the capsule that it became.

    `facts` ({key, value, confidence?, category?}) and `summary` are what the caller's language model extracted; without
    them the engine's rules extract. Raises InvalidInput, TooLarge, SessionNotFound; SessionSealed when the capsule has
    been deleted since.
    """
    extracted = check_seal(title=title, tags=tags, facts=facts, summary=summary)
    with transaction.atomic():
        session = locked_session(project_id=project_id, session_id=session_id)
        if session.sealed_at is not None:
            return _sealed_before(session)
        return seal_locked(session, title=title, tags=tags, extracted=extracted, actor=actor)


def check_seal(
    *, title: str = "", tags: Sequence[str] = (), facts: Sequence[dict[str, Any]] = (), summary: str = ""
) -> MemoryPayload | None:
    """What a seal keeps of a language model's work; None without. Raises InvalidInput or TooLarge, as `seal` does."""
    extracted = conversation.extracted_by_host(facts, summary)
    limits.title(title)
    limits.tags(tags)
    return extracted


def seal_locked(
    session: Session, *, title: str = "", tags: Sequence[str] = (), extracted: MemoryPayload | None = None, actor: Actor
) -> SealResult:
    """Make the capsule of an open session whose row the surrounding transaction has locked."""
    capsule = conversation.make_capsule(
        session,
        Turn.objects.filter(session=session)
        .order_by("number")
        .values_list("number", "role", Left("content", READ_OF_A_TURN), "said_at"),
        SkillTrigger.objects.filter(session=session).exclude(resolution="").order_by("resolved_at"),
        TenantStorage(session.project_id),
        title=title,
        tags=tags,
        extracted=extracted,
    )
    session.sealed_at = timezone.now()
    session.capsule_id = capsule.capsule_id
    session.extraction = Session.Extraction.RULE_BASED if extracted is None else Session.Extraction.HOST_LLM
    session.save(update_fields=["sealed_at", "capsule_id", "extraction"])
    record(
        action=actions.MEMORY_SESSION_SEALED,
        actor=actor,
        target=session_target(session.external_id),
        metadata={"capsule_id": capsule.capsule_id, "turns": session.turn_count},
    )
    told = {"capsule_id": capsule.capsule_id, "user_id": session.user_id}
    sealed = {**told, "session_id": session.external_id}
    emit(SESSION_SEALED, data=sealed, key=f"sealed:{session.pk}", project_id=session.project_id)
    emit(CAPSULE_CREATED, data={**told, "origin": "sealed"}, key=f"made:{session.pk}", project_id=session.project_id)
    return SealResult(
        capsule_id=capsule.capsule_id,
        title=capsule.metadata.title,
        turn_count=capsule.metadata.turn_count,
        type=capsule.capsule_type.value,
        extraction=session.extraction,
        user_id=session.user_id,
    )


def session_target(session_id: str) -> Target:
    """A session as an audit target."""
    return Target("session", session_id, session_id)


def locked_session(*, project_id: UUID, session_id: str) -> Session:
    """The session, which nobody else can write to until the surrounding transaction ends. Raises SessionNotFound."""
    return get_session(project_id=project_id, session_id=session_id, for_update=True)


def _sealed_before(session: Session) -> SealResult:
    capsule = visible(session.project_id).filter(capsule_id=session.capsule_id).first()
    if capsule is None:
        raise SessionSealed(session.external_id)
    return SealResult(
        capsule_id=capsule.capsule_id,
        title=capsule.title,
        turn_count=capsule.turn_count,
        type=capsule.capsule_type,
        extraction=session.extraction,
        user_id=session.user_id,
    )


def _check_turns(session_id: str, turns: Sequence[TurnPair]) -> None:
    if not turns or not all(turn.user_message and turn.assistant_response for turn in turns):
        raise limits.InvalidInput("user_message and assistant_response are required")
    if 2 * len(turns) > limits.MAX_TURNS:
        raise SessionFull(session_id)
    for turn in turns:
        limits.text("user_message", turn.user_message)
        limits.text("assistant_response", turn.assistant_response)


def _notice(
    organization_id: UUID, project_id: UUID, session_id: str, turns: Sequence[TurnPair]
) -> list[dict[str, Any] | None]:
    """What the engine notices in each pair, as `memory_ingest` takes it."""
    earlier: list[str] = []
    if any(conversation.looks_back(turn.assistant_response) for turn in turns):
        call = SqlCall("memory_recent_answers", (project_id, session_id, conversation.LOOK_BACK))
        earlier = [answer for (answer,) in one_trip(organization_id, call)]
    noticed: list[dict[str, Any] | None] = []
    for turn in turns:
        skill = conversation.notice_skill(turn.user_message, turn.assistant_response, earlier)
        noticed.append(None if skill is None else {"id": str(uuid_utils.uuid7())} | asdict(skill))
        earlier.append(turn.assistant_response)
    return noticed


def _ingest_call(
    project_id: UUID,
    session_id: str,
    user_id: str | None,
    turns: Sequence[TurnPair],
    noticed: Sequence[dict[str, Any] | None],
) -> SqlCall:
    where = (project_id, session_id, user_id, limits.MAX_TURNS)
    if len(turns) == 1:
        trigger = None if noticed[0] is None else orjson.dumps(noticed[0]).decode()
        return SqlCall("memory_ingest", (*where, turns[0].user_message, turns[0].assistant_response, trigger))
    pairs = [
        {"question": turn.user_message, "answer": turn.assistant_response, "trigger": trigger}
        for turn, trigger in zip(turns, noticed, strict=True)
    ]
    return SqlCall("memory_ingest_batch", (*where, orjson.dumps(pairs).decode()))


def _with_memories(
    result: IngestResult, organization_id: UUID, project_id: UUID, user_id: str, query: str, reader: Reader | None
) -> IngestResult:
    """`result` with what the user's capsules hold about the query.

    The turn is on disk: whatever fails here is logged, because answering with it would make the client send it again.
    """
    if not query.strip():
        return result
    try:
        found = recall(
            organization_id=organization_id,
            project_id=project_id,
            user_id=user_id,
            query=query[:READ_AS_QUERY],
            top_k=RECALLED_AT_FIRST,
        )
        if found.facts:
            reads.note(reader, "recall", found.sources, query=query[:READ_AS_QUERY], user_id=user_id)
    except Exception:
        log.exception("session.recall_failed project=%s", project_id)
        return result
    if not found.facts:
        return result
    return replace(result, recalled_context=found.prompt_injection, recalled_facts_count=len(found.facts))


@contextmanager
def _refusals(session_id: str) -> Iterator[None]:
    """Give what the SQL functions raise its name, and leave a surrounding transaction usable."""
    try:
        with transaction.atomic() if connection.in_atomic_block else nullcontext():
            yield
    except DatabaseError as error:
        refusal = _REFUSALS.get(getattr(error.__cause__, "sqlstate", None))
        if refusal is None:
            raise
        raise refusal(session_id) from error
