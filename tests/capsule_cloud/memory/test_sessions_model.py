"""Whatever the order of calls, sessions behave as a dictionary of lists would."""

from contextlib import nullcontext
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from capsule_cloud.memory.models import Capsule, Session, Turn
from capsule_cloud.memory.selectors import sessions as selectors
from capsule_cloud.memory.selectors.sessions import SessionNotFound
from capsule_cloud.memory.services import sessions
from capsule_cloud.memory.services.sessions import SessionBelongsToAnother, SessionSealed
from tenancy.scope import scope
from tests.capsule_cloud.memory.conversations import ingest, pair, seal
from tests.factories import Tenant

NAMES = st.sampled_from(["a", "b"])
USERS = st.sampled_from(["ada", "bob"])
SAID = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=40)


class Conversations(RuleBasedStateMachine):
    """Two users talk in two sessions of one project."""

    tenant: Tenant

    def __init__(self) -> None:
        super().__init__()
        self.prefix = uuid4().hex
        self.owners: dict[str, str] = {}
        self.turns: dict[str, list[str]] = {}
        self.capsules: dict[str, str] = {}

    def refusal(self, name: str, user: str | None) -> type[Exception] | None:
        if name in self.owners and user is not None and self.owners[name] != user:
            return SessionBelongsToAnother
        return SessionSealed if name in self.capsules else None

    @rule(name=NAMES, user=USERS)
    def open(self, name: str, user: str) -> None:
        refusal = self.refusal(name, user)
        with pytest.raises(refusal) if refusal else nullcontext(), scope(self.tenant.organization):
            sessions.open_session(
                project_id=self.tenant.project.pk,
                session_id=self.prefix + name,
                user_id=user,
                actor=self.tenant.actor,
            )
        if refusal is None:
            self.owners.setdefault(name, user)
            self.turns.setdefault(name, [])

    @rule(name=NAMES, user=st.none() | USERS, said=st.lists(st.tuples(SAID, SAID), min_size=1, max_size=3))
    def say(self, name: str, user: str | None, said: list[tuple[str, str]]) -> None:
        pairs = [pair(*turn) for turn in said]
        if refusal := self.refusal(name, user):
            with pytest.raises(refusal):
                ingest(self.tenant, self.prefix + name, *pairs, user_id=user)
            return
        result = ingest(self.tenant, self.prefix + name, *pairs, user_id=user)
        self.owners.setdefault(name, user or "default")
        turns = self.turns.setdefault(name, [])
        assert result.turn_id == len(turns) + 1
        turns += [text for turn in said for text in turn]
        assert result.total_turns == len(turns)

    @rule(name=NAMES)
    def finish(self, name: str) -> None:
        if name not in self.owners:
            with pytest.raises(SessionNotFound):
                seal(self.tenant, self.prefix + name)
            return
        sealed = seal(self.tenant, self.prefix + name)
        assert sealed.turn_count == len(self.turns[name])
        assert self.capsules.setdefault(name, sealed.capsule_id) == sealed.capsule_id

    @invariant()
    def the_database_says_the_same(self) -> None:
        with scope(self.tenant.organization):
            kept = {
                session.external_id.removeprefix(self.prefix): session
                for session in Session.objects.filter(external_id__startswith=self.prefix)
            }
            assert {name: session.user_id for name, session in kept.items()} == self.owners
            assert {name for name, session in kept.items() if session.sealed_at} == set(self.capsules)
            for name, session in kept.items():
                turns = Turn.objects.filter(session=session).order_by("number")
                assert [turn.content for turn in turns] == self.turns[name]
                assert [turn.number for turn in turns] == list(range(1, session.turn_count + 1))
            capsules = Capsule.objects.filter(session_id__startswith=self.prefix)
            assert {capsule.capsule_id for capsule in capsules} == set(self.capsules.values())
            page = selectors.list_sessions(project_id=self.tenant.project.pk, starts_with=self.prefix)
            assert {session.pk for session in page.sessions} == {session.pk for session in kept.values()}


def test_any_order_of_calls_is_kept_as_it_happened(tenant: Tenant) -> None:
    machine = type("OfTheTenant", (Conversations,), {"tenant": tenant})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
