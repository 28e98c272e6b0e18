"""The end of conversations: idle ones are sealed, raw turns forgotten in time, and nobody else's touched."""

from datetime import timedelta

import pytest
from django.utils import timezone

from billing.metering.models import UsageEvent
from billing.quotas.tasks import seal_idle_sessions
from capsule_cloud.memory import tasks
from capsule_cloud.memory.models import Capsule, Session, SkillTrigger, Turn
from capsule_cloud.memory.selectors import sessions as selectors
from capsule_cloud.memory.services import capsules, retention, sessions
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.capsule_cloud.memory.conversations import ingest, pair, seal
from tests.factories import Tenant


def age(tenant: Tenant, session_id: str, minutes: float = 0, *, days: float = 0) -> None:
    """Make a session older than it is."""
    moment = timezone.now() - timedelta(days=days, minutes=minutes)
    with scope(tenant.organization):
        session = Session.objects.get(external_id=session_id)
        session.started_at = session.look_at = moment
        session.last_turn_at = moment if session.turn_count else None
        session.sealed_at = moment if session.sealed_at else None
        session.save()


def state(tenant: Tenant, session_id: str) -> Session:
    with scope(tenant.organization):
        session: Session = Session.objects.get(external_id=session_id)
        return session


def test_idle_sessions_of_every_organization_are_sealed(tenant: Tenant, stranger: Tenant) -> None:
    for owner in (tenant, stranger):
        ingest(owner, "idle", pair("I keep bees", "How many hives?"), user_id="ada")
        ingest(owner, "busy")
        age(owner, "idle", minutes=31)
        age(owner, "busy", minutes=29)

    seal_idle_sessions()

    for owner in (tenant, stranger):
        assert state(owner, "idle").sealed_at is not None
        assert state(owner, "busy").sealed_at is None
        with scope(owner.organization):
            assert Capsule.objects.get().user_id == "ada"
            [event] = AuditEvent.objects.filter(action=actions.MEMORY_SESSION_SEALED.name)
            assert event.actor["kind"] == "system"


def test_an_idle_seal_is_counted_once_with_the_seal(tenant: Tenant) -> None:
    for name in ("good", "poison", "sealed"):
        ingest(tenant, name, user_id="ada")
    seal(tenant, "sealed")
    for name in ("good", "poison", "sealed"):
        age(tenant, name, minutes=40)
    with scope(tenant.organization):  # what no caller can write, and no event can have
        Session.objects.filter(external_id="poison").update(user_id="")

    with pytest.raises(ExceptionGroup):
        seal_idle_sessions()
    seal_idle_sessions()

    with scope(tenant.organization):
        [event] = UsageEvent.objects.filter(meter="seal")
        assert (event.project_id, event.key_id, event.quantity) == (tenant.project.pk, None, 1)
        assert event.end_user == "ada"


def test_a_seal_that_cannot_be_counted_does_not_happen(tenant: Tenant) -> None:
    ingest(tenant, "s")
    age(tenant, "s", minutes=40)
    with scope(tenant.organization):
        session_pk = Session.objects.get().pk
    with pytest.raises(ZeroDivisionError), scope(tenant.organization):
        retention.close_if_idle(session_pk=session_pk, actor=tenant.actor, also=lambda session: 1 / 0)

    assert state(tenant, "s").sealed_at is None
    with scope(tenant.organization):
        assert not Capsule.objects.exists()


def test_the_project_says_how_long_a_session_may_idle(tenant: Tenant) -> None:
    with scope(tenant.organization):
        tenant.project.idle_seal_minutes = 5
        tenant.project.save()
    ingest(tenant, "s")
    age(tenant, "s", minutes=6)

    seal_idle_sessions()

    assert state(tenant, "s").sealed_at is not None


def test_a_busy_session_is_looked_at_again_when_it_would_be_idle(tenant: Tenant) -> None:
    ingest(tenant, "s")
    age(tenant, "s", minutes=10)

    seal_idle_sessions()

    session = state(tenant, "s")
    assert session.last_turn_at is not None
    assert session.look_at == session.last_turn_at + timedelta(minutes=30)


def test_the_first_turn_brings_the_look_forward(tenant: Tenant) -> None:
    with scope(tenant.organization):
        sessions.open_session(project_id=tenant.project.pk, session_id="s", actor=tenant.actor)
    ingest(tenant, "s")

    assert state(tenant, "s").look_at < timezone.now() + timedelta(minutes=2)


def test_a_turn_after_the_sweep_saw_it_keeps_a_session_open(tenant: Tenant) -> None:
    ingest(tenant, "s")
    with scope(tenant.organization):
        session_pk = Session.objects.get().pk
        assert not retention.close_if_idle(
            session_pk=session_pk, actor=tenant.actor, also=lambda session: pytest.fail("it is open")
        )

    assert state(tenant, "s").sealed_at is None


def test_a_session_that_nobody_used_is_removed_after_a_day(tenant: Tenant) -> None:
    with scope(tenant.organization):
        for name in ("fresh", "old"):
            sessions.open_session(project_id=tenant.project.pk, session_id=name, actor=tenant.actor)
    age(tenant, "fresh", days=0.9)
    age(tenant, "old", days=1.1)

    seal_idle_sessions()

    with scope(tenant.organization):
        assert [session.external_id for session in Session.objects.all()] == ["fresh"]
        assert not Capsule.objects.exists()
        assert AuditEvent.objects.filter(action=actions.MEMORY_SESSION_EXPIRED.name).count() == 1


def test_a_session_that_cannot_be_sealed_holds_up_no_other(tenant: Tenant) -> None:
    for name in ("poison", "good"):
        ingest(tenant, name)
        age(tenant, name, minutes=40)
    with scope(tenant.organization):  # what no caller can write, and no capsule can have
        Session.objects.filter(external_id="poison").update(user_id="")

    with pytest.raises(ExceptionGroup):
        seal_idle_sessions()

    assert state(tenant, "good").sealed_at is not None
    poison = state(tenant, "poison")
    assert poison.sealed_at is None
    assert poison.look_at > timezone.now() + timedelta(minutes=9)
    seal_idle_sessions()  # it is not due, so nothing fails now


def test_raw_turns_are_forgotten_after_the_projects_retention(tenant: Tenant, stranger: Tenant) -> None:
    with scope(stranger.organization):
        stranger.project.turn_retention_days = 400
        stranger.project.save()
    for owner in (tenant, stranger):
        for name in ("old", "young"):
            ingest(owner, name, pair("perfect, remember this"), pair())
            seal(owner, name)
        age(owner, "old", days=91)
        age(owner, "young", days=89)
        ingest(owner, "open")
        age(owner, "open", days=300)

    tasks.purge_expired()

    with scope(tenant.organization):
        left = set(Turn.objects.values_list("session__external_id", flat=True))
        assert left == {"young", "open"}
        assert {trigger.session.external_id for trigger in SkillTrigger.objects.all()} == {"young"}
        assert Capsule.objects.count() == 2
        [event] = AuditEvent.objects.filter(action=actions.MEMORY_TURNS_PURGED.name)
        assert event.metadata == {"sessions": 1, "turns": 4}
        assert selectors.session_turns(project_id=tenant.project.pk, session_id="old") == []
    assert state(tenant, "old").turn_count == 4
    with scope(stranger.organization):
        assert Turn.objects.count() == 10


def test_capsules_whose_end_has_passed_are_deleted_with_their_turns(tenant: Tenant) -> None:
    for name in ("ends", "stays"):
        ingest(tenant, name)
    ends, stays = seal(tenant, "ends"), seal(tenant, "stays")
    with scope(tenant.organization):
        Capsule.objects.filter(capsule_id=ends.capsule_id).update(expires_at=timezone.now() - timedelta(hours=1))

    tasks.purge_expired()

    with scope(tenant.organization):
        assert [capsule.capsule_id for capsule in Capsule.objects.all()] == [stays.capsule_id]
        assert set(Turn.objects.values_list("session__external_id", flat=True)) == {"stays"}


def test_deleting_a_user_through_the_capsules_counts_both(tenant: Tenant) -> None:
    ingest(tenant, "a", user_id="ada")
    seal(tenant, "a")
    ingest(tenant, "b", pair(), pair(), user_id="ada")

    with scope(tenant.organization):
        deleted = capsules.delete_user(project_id=tenant.project.pk, user_id="ada", actor=tenant.actor)

    assert (deleted.capsules, deleted.sessions, deleted.turns) == (1, 2, 6)


def test_purging_again_finds_nothing(tenant: Tenant) -> None:
    ingest(tenant, "s")
    seal(tenant, "s")
    age(tenant, "s", days=91)

    assert retention.purge_due_turns() == 1
    assert retention.purge_due_turns() == 0


def test_deleting_a_capsule_forgets_the_turns_it_was_made_of(tenant: Tenant, stranger: Tenant) -> None:
    for name in ("s", "t", "open"):
        ingest(tenant, name)
    capsule_id = seal(tenant, "s").capsule_id
    seal(tenant, "t")

    with scope(tenant.organization):
        forgotten = retention.forget_source_of(project_id=tenant.project.pk, capsule_id=capsule_id)
        nothing = retention.forget_source_of(project_id=tenant.project.pk, capsule_id="")
        left = set(Turn.objects.values_list("session__external_id", flat=True))
    with scope(stranger.organization):
        foreign = retention.forget_source_of(project_id=tenant.project.pk, capsule_id=capsule_id)

    assert (forgotten.sessions, forgotten.turns) == (1, 2)
    assert (nothing.sessions, foreign.sessions) == (0, 0)
    assert left == {"t", "open"}


def test_deleting_a_user_counts_what_goes(tenant: Tenant) -> None:
    ingest(tenant, "a", pair("perfect, remember this"), pair(), user_id="ada")
    ingest(tenant, "b", user_id="ada")
    seal(tenant, "b")
    ingest(tenant, "c", user_id="bob")

    with scope(tenant.organization):
        gone = retention.delete_sessions_of(project_id=tenant.project.pk, user_id="ada")
        left = [session.external_id for session in Session.objects.all()]

    assert (gone.sessions, gone.turns, gone.triggers) == (2, 6, 1)
    assert left == ["c"]
