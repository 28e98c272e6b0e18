"""Sessions: opened, filled turn by turn, sealed once, and only by their own project and user."""

from contextlib import nullcontext
from uuid import uuid4

import pytest

from capsule_cloud.memory import limits
from capsule_cloud.memory.limits import InvalidInput, TooLarge
from capsule_cloud.memory.models import Session, Turn
from capsule_cloud.memory.selectors import sessions as selectors
from capsule_cloud.memory.selectors.sessions import SessionNotFound, SessionState
from capsule_cloud.memory.services import sessions
from capsule_cloud.memory.services.sessions import SessionBelongsToAnother, SessionFull, SessionSealed, TurnPair
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import record_call
from tenancy.models import Project
from tenancy.scope import scope
from tests.capsule_cloud.memory.conversations import ingest, pair, seal
from tests.factories import Tenant


def turns_of(tenant: Tenant, session_id: str) -> list[tuple[int, str, str]]:
    with scope(tenant.organization):
        turns = selectors.session_turns(project_id=tenant.project.pk, session_id=session_id)
        return [(turn.number, turn.role, turn.content) for turn in turns]


def audited(tenant: Tenant, action: actions.Action) -> list[AuditEvent]:
    with scope(tenant.organization):
        return list(AuditEvent.objects.filter(action=action.name).order_by("id"))


def test_the_first_turn_opens_the_session(tenant: Tenant) -> None:
    result = ingest(tenant, "s", pair("hello", "hi"), user_id="ada")

    assert (result.turn_id, result.total_turns, result.pending_triggers) == (1, 2, 0)
    assert turns_of(tenant, "s") == [(1, "user", "hello"), (2, "assistant", "hi")]
    with scope(tenant.organization):
        assert Session.objects.get(external_id="s").user_id == "ada"


def test_turns_are_numbered_in_order(tenant: Tenant) -> None:
    results = [ingest(tenant, "s", pair(f"question {n}")) for n in range(3)]

    assert [result.turn_id for result in results] == [1, 3, 5]
    assert [number for number, _, _ in turns_of(tenant, "s")] == [1, 2, 3, 4, 5, 6]


def test_a_batch_is_taken_whole_and_in_order(tenant: Tenant) -> None:
    ingest(tenant, "s", pair("before"))

    result = ingest(tenant, "s", pair("one", "1"), pair("two", "2"), pair("three", "3"))

    assert (result.turn_id, result.total_turns) == (3, 8)
    assert [content for _, role, content in turns_of(tenant, "s") if role == "assistant"][1:] == ["1", "2", "3"]


def test_a_batch_that_does_not_fit_leaves_nothing(tenant: Tenant) -> None:
    full = limits.MAX_TURNS // 2
    ingest(tenant, "s", *[pair()] * (full - 1))

    with pytest.raises(SessionFull):
        ingest(tenant, "s", pair(), pair())

    assert ingest(tenant, "s").total_turns == limits.MAX_TURNS
    with pytest.raises(SessionFull):
        ingest(tenant, "s")


def test_a_batch_longer_than_a_session_opens_none(tenant: Tenant) -> None:
    with pytest.raises(SessionFull):
        ingest(tenant, "s", *[pair()] * (limits.MAX_TURNS // 2 + 1))
    with scope(tenant.organization), pytest.raises(SessionNotFound):
        selectors.snapshot(project_id=tenant.project.pk, session_id="s")


def test_text_comes_back_as_it_was_said(tenant: Tenant) -> None:
    said = "naïve 日本語 🧠 \\u0000 '; DROP TABLE memory_turn; -- %s {} \r\n\t\ufeff"
    ingest(tenant, "s", pair(said, said), pair(said, said))

    assert {content for _, _, content in turns_of(tenant, "s")} == {said}


@pytest.mark.parametrize(
    ("turn", "refusal"),
    [
        (TurnPair("", "answer"), InvalidInput),
        (TurnPair("question", ""), InvalidInput),
        (TurnPair("nul\x00", "answer"), InvalidInput),
        (TurnPair("question", "half a pair \ud83e"), InvalidInput),
        (TurnPair(123, "answer"), InvalidInput),  # type: ignore[arg-type]
        (TurnPair("question", ["answer"]), InvalidInput),  # type: ignore[arg-type]
        (TurnPair("x" * (limits.MAX_TURN_BYTES + 1), "answer"), TooLarge),
        (TurnPair("question", "é" * (limits.MAX_TURN_BYTES // 2 + 1)), TooLarge),
    ],
)
def test_what_cannot_be_kept_is_refused_and_opens_nothing(
    tenant: Tenant, turn: TurnPair, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        ingest(tenant, "s", turn)
    with pytest.raises(InvalidInput):
        ingest(tenant, "s", pair(), turn)
    with scope(tenant.organization):
        assert not Session.objects.exists()


def test_a_turn_of_the_largest_size_is_taken(tenant: Tenant) -> None:
    largest = "é" * (limits.MAX_TURN_BYTES // 2)

    ingest(tenant, "s", pair(largest, largest))

    assert turns_of(tenant, "s")[1] == (2, "assistant", largest)


@pytest.mark.parametrize("name", ["", "x" * 256, "nul\x00", "\ud800", 7])
def test_ids_that_cannot_be_kept_are_refused(tenant: Tenant, name: str) -> None:
    with pytest.raises(InvalidInput):
        ingest(tenant, name)
    with pytest.raises(InvalidInput):
        ingest(tenant, "s", user_id=name)
    with scope(tenant.organization), pytest.raises(InvalidInput):
        sessions.open_session(project_id=tenant.project.pk, user_id=name, actor=tenant.actor)


@pytest.mark.parametrize("name", ["a@b.c", "auth0|5f7c", "..", "../../etc/passwd", "用户", "x" * 255])
def test_ids_are_free_text(tenant: Tenant, name: str) -> None:
    ingest(tenant, name, user_id=name)

    assert seal(tenant, name).turn_count == 2


def test_an_opened_session_belongs_to_its_user(tenant: Tenant) -> None:
    with scope(tenant.organization):
        opened = sessions.open_session(
            project_id=tenant.project.pk, user_id="alice", session_id="s", agent_id="agent", actor=tenant.actor
        )
        again = sessions.open_session(project_id=tenant.project.pk, user_id="alice", session_id="s", actor=tenant.actor)
    assert opened.pk == again.pk
    assert len(audited(tenant, actions.MEMORY_SESSION_OPENED)) == 1

    with scope(tenant.organization), pytest.raises(SessionBelongsToAnother):
        sessions.open_session(project_id=tenant.project.pk, user_id="bob", session_id="s", actor=tenant.actor)
    with pytest.raises(SessionBelongsToAnother):
        ingest(tenant, "s", user_id="bob")
    assert turns_of(tenant, "s") == []


def test_turns_without_a_user_go_to_whoever_opened_the_session(tenant: Tenant) -> None:
    ingest(tenant, "s", user_id="alice")
    ingest(tenant, "s")

    with scope(tenant.organization):
        assert Session.objects.get(external_id="s").user_id == "alice"


def test_a_session_without_an_id_gets_one(tenant: Tenant) -> None:
    with scope(tenant.organization):
        opened = [sessions.open_session(project_id=tenant.project.pk, actor=tenant.actor) for _ in range(2)]

    assert all(session.external_id.startswith("sess_") for session in opened)
    assert len({session.external_id for session in opened}) == 2


def test_two_projects_have_their_own_sessions_under_one_id(tenant: Tenant) -> None:
    with scope(tenant.organization):
        other = Project.objects.create(name="Other", slug=f"other-{uuid4().hex[:8]}")
    ingest(tenant, "s", pair("mine"))

    with scope(tenant.organization):
        for ask in (selectors.snapshot, selectors.triggers, selectors.session_turns):
            with pytest.raises(SessionNotFound):
                ask(project_id=other.pk, session_id="s")
        with pytest.raises(SessionNotFound):
            sessions.seal(project_id=other.pk, session_id="s", actor=tenant.actor)
    tenant.project = other
    assert ingest(tenant, "s", pair("other")).turn_id == 1


def test_a_stranger_finds_no_session_and_opens_none_in_a_foreign_project(tenant: Tenant, stranger: Tenant) -> None:
    ingest(tenant, "s")
    stranger.project = tenant.project

    for ask in (selectors.snapshot, selectors.triggers, selectors.session_turns):
        with scope(stranger.organization), pytest.raises(SessionNotFound):
            ask(project_id=tenant.project.pk, session_id="s")
    with pytest.raises(SessionNotFound):
        seal(stranger, "s")
    for session_id in ("s", "new"):
        with pytest.raises(SessionNotFound):
            ingest(stranger, session_id)
    with scope(stranger.organization), pytest.raises(SessionNotFound):
        sessions.open_session(project_id=tenant.project.pk, session_id="new", actor=stranger.actor)
    assert len(turns_of(tenant, "s")) == 2


@pytest.mark.parametrize("session_id", ["nul\x00", "\ud800", "", "x" * 10_000])
def test_asking_for_an_impossible_id_finds_nothing(tenant: Tenant, session_id: str) -> None:
    with scope(tenant.organization), pytest.raises(SessionNotFound):
        selectors.snapshot(project_id=tenant.project.pk, session_id=session_id)
    with pytest.raises(SessionNotFound):
        seal(tenant, session_id)


@pytest.mark.parametrize("question", [" ", "\n", "the", "?" * limits.MAX_TURN_BYTES])
def test_a_first_question_that_asks_nothing_is_taken(tenant: Tenant, question: str) -> None:
    result = ingest(tenant, "s", pair(question))

    assert (result.turn_id, result.recalled_context) == (1, None)


def test_what_goes_with_a_turn_happens_with_it_or_not_at_all(tenant: Tenant) -> None:
    for user_id in ("alice", "bob"):
        target = sessions.session_target("also")
        also = record_call(
            action=actions.MEMORY_SESSION_OPENED,
            actor=tenant.actor,
            target=target,
            organization_id=tenant.organization.pk,
        )
        with pytest.raises(SessionBelongsToAnother) if user_id == "bob" else nullcontext():
            ingest(tenant, "s", user_id=user_id, also=[also])

    assert len(audited(tenant, actions.MEMORY_SESSION_OPENED)) == 1
    [event] = audited(tenant, actions.MEMORY_SESSION_INGESTED)
    assert (event.actor["id"], event.target["id"], event.metadata) == (tenant.actor.id, "s", {"turns": 2})


def test_the_snapshot_counts(tenant: Tenant) -> None:
    ingest(tenant, "s", pair("perfect, remember this", "Use a queue."), pair(), user_id="ada")

    with scope(tenant.organization):
        snapshot = selectors.snapshot(project_id=tenant.project.pk, session_id="s")

    assert (snapshot.session_id, snapshot.user_id, snapshot.turn_count) == ("s", "ada", 4)
    assert (snapshot.is_active, snapshot.pending_triggers, snapshot.confirmed_skills) == (True, 1, 0)


def test_lists_page_and_filter(tenant: Tenant, stranger: Tenant) -> None:
    ingest(stranger, "chat-foreign")
    for n in range(5):
        ingest(tenant, f"chat-{n}", user_id="ada" if n % 2 else "bob")
    ingest(tenant, "mail-1", user_id="ada")
    seal(tenant, "chat-1")

    with scope(tenant.organization):

        def ids(**filters: object) -> list[str]:
            page = selectors.list_sessions(project_id=tenant.project.pk, **filters)  # type: ignore[arg-type]
            return [session.external_id for session in page.sessions]

        assert ids() == ["mail-1", "chat-4", "chat-3", "chat-2", "chat-1", "chat-0"]
        assert ids(user_id="ada") == ["mail-1", "chat-3", "chat-1"]
        assert ids(state=SessionState.SEALED) == ["chat-1"]
        assert ids(state=SessionState.OPEN, user_id="ada") == ["mail-1", "chat-3"]
        assert ids(starts_with="mail") == ["mail-1"]
        first = selectors.list_sessions(project_id=tenant.project.pk, limit=4)
        assert first.after is not None
        assert ids(after=first.after) == ["chat-1", "chat-0"]
        assert selectors.list_sessions(project_id=tenant.project.pk, limit=6).after is None


def test_raw_turns_are_read_in_pages(tenant: Tenant) -> None:
    ingest(tenant, "s", *[pair(str(n)) for n in range(3)])

    with scope(tenant.organization):
        page = selectors.session_turns(project_id=tenant.project.pk, session_id="s", after=2, limit=3)

    assert [turn.number for turn in page] == [3, 4, 5]


def test_row_security_hides_sessions_from_raw_sql(tenant: Tenant, stranger: Tenant) -> None:
    ingest(tenant, "s")

    with scope(stranger.organization):
        assert Session.objects.model._default_manager.count() == 0
        assert Turn.objects.count() == 0


def test_a_sealed_session_takes_no_turn(tenant: Tenant) -> None:
    ingest(tenant, "s")
    seal(tenant, "s")

    with pytest.raises(SessionSealed):
        ingest(tenant, "s")
    with scope(tenant.organization), pytest.raises(SessionSealed):
        sessions.open_session(project_id=tenant.project.pk, session_id="s", actor=tenant.actor)
    assert len(turns_of(tenant, "s")) == 2
