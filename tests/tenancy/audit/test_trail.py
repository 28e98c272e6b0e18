"""The trail is appended to, read newest first, and neither changed nor deleted."""

import re
import uuid
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.errors import InsufficientPrivilege

from tenancy.audit import actions, selectors
from tenancy.audit.actions import CATALOGUE, Action
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import SYSTEM, Actor, Context, Target, context, current_context, record, record_call
from tenancy.models import Organization
from tenancy.scope import NoScope, one_trip, scope
from tests.factories import Tenant, make_tenant
from tests.raw import connect, inside, rows_of

ADA = Actor("user", "u1", "ada@example.com")
THING = Target("project", "p1", "Support Bot")


def write(tenant: Tenant, action: Action = actions.PROJECT_UPDATED, actor: Actor = ADA, target: Target = THING) -> Any:
    """One event."""
    with scope(tenant.organization):
        return record(action=action, actor=actor, target=target)


def read(tenant: Tenant, **question: Any) -> list[AuditEvent]:
    """Events of the tenant."""
    with scope(tenant.organization):
        return selectors.events(**question)


def test_an_event_says_who_what_whom_where_and_when(tenant: Tenant) -> None:
    origin = Context("r1", "203.0.113.7", "curl/8", "s1")
    with context(origin), scope(tenant.organization):
        event = record(
            action=actions.MEMBER_ROLE_CHANGED,
            actor=ADA,
            target=THING,
            metadata={"keys_revoked": 1},
            changes={"role": ["viewer", "admin"]},
            reason="It was wrong",
        )
    stored = read(tenant)[0]
    assert stored.pk == event.pk
    assert stored.action == "organization.member.role_changed"
    assert stored.actor == {"kind": "user", "id": "u1", "label": "ada@example.com"}
    assert stored.target == {"kind": "project", "id": "p1", "label": "Support Bot"}
    assert stored.context == {"request_id": "r1", "ip": "203.0.113.7", "user_agent": "curl/8", "session_id": "s1"}
    assert stored.metadata == {"keys_revoked": 1}
    assert stored.changes == {"role": ["viewer", "admin"]}
    assert stored.reason == "It was wrong"
    assert stored.body == event.body
    assert "\n" not in stored.body
    assert abs(stored.occurred_at - timezone.now()) < timedelta(minutes=1)
    assert str(stored) == "organization.member.role_changed Support Bot"


def test_the_one_trip_way_writes_the_same(tenant: Tenant) -> None:
    with context(Context("r1", "203.0.113.7", "curl/8")):
        write(tenant)
        call = record_call(
            action=actions.PROJECT_UPDATED, actor=ADA, target=THING, organization_id=tenant.organization.pk
        )
        one_trip(tenant.organization.pk, call)
    one, other = read(tenant)[:2]
    for field in ("action", "actor", "target", "context", "metadata"):
        assert getattr(one, field) == getattr(other, field)


def test_contexts_nest_and_end() -> None:
    with context(Context("outer")):
        with pytest.raises(ZeroDivisionError), context(Context("inner")):
            raise ZeroDivisionError
        assert current_context().request_id == "outer"
    assert current_context() == Context()


@pytest.mark.django_db
def test_nothing_is_recorded_for_nobody() -> None:
    with pytest.raises(NoScope):
        record(action=actions.PROJECT_UPDATED, actor=SYSTEM, target=THING)


def test_a_name_stands_once_in_the_catalogue() -> None:
    with pytest.raises(ValueError, match="already"):
        Action(actions.PROJECT_UPDATED.name, "x")


@pytest.mark.parametrize("action", CATALOGUE.values(), ids=CATALOGUE)
def test_a_name_reads_room_thing_happened(action: Action) -> None:
    assert re.fullmatch(r"[a-z_]+(\.[a-z_]+){1,3}", action.name)
    assert len(action.name) <= 64
    assert action.sentence[0].islower()
    assert not action.sentence.endswith(".")


@pytest.fixture
def app(django_db_setup: None) -> Any:
    """A connection of the application's role."""
    with connect("app") as connection:
        yield connection


@pytest.mark.parametrize("change", ["UPDATE audit_auditevent SET action = 'x'", "DELETE FROM audit_auditevent"])
def test_the_application_can_neither_change_nor_delete(
    change: str, transactional_db: None, app: psycopg.Connection[Any]
) -> None:
    tenant = make_tenant()
    before = rows_of("audit_auditevent", "organization_id", tenant.organization.pk)
    with pytest.raises(InsufficientPrivilege), inside(app, tenant.organization.pk):
        app.execute(change.encode())
    assert rows_of("audit_auditevent", "organization_id", tenant.organization.pk) == before


@pytest.mark.parametrize("closed_for", [None, timedelta(hours=23)], ids=["open", "just closed"])
def test_the_trail_of_a_living_organization_cannot_be_purged(
    closed_for: timedelta | None, transactional_db: None, app: psycopg.Connection[Any]
) -> None:
    tenant = make_tenant()
    if closed_for:
        with scope(tenant.organization):
            Organization.objects.update(closed_at=timezone.now() - closed_for)
    with pytest.raises(InsufficientPrivilege), inside(app, tenant.organization.pk):
        app.execute("SELECT audit_purge(%s)", [tenant.organization.pk])


def test_nobody_purges_the_trail_of_another(transactional_db: None, app: psycopg.Connection[Any]) -> None:
    tenant, stranger = make_tenant(), make_tenant()
    with scope(tenant.organization):
        Organization.objects.update(closed_at=timezone.now() - timedelta(days=90))
    with pytest.raises(InsufficientPrivilege), inside(app, stranger.organization.pk):
        app.execute("SELECT audit_purge(%s)", [tenant.organization.pk])
    with pytest.raises(InsufficientPrivilege):
        app.execute("SELECT audit_purge(%s)", [tenant.organization.pk])
    assert rows_of("audit_auditevent", "organization_id", tenant.organization.pk)


def test_filters_narrow_the_trail(tenant: Tenant, stranger: Tenant) -> None:
    write(stranger)
    key = write(
        tenant, actions.INVITATION_ACCEPTED, Actor("api_key", "k1", "Server (cmk_abc…)"), Target("api_key", "k2", "New")
    )
    project = write(tenant)
    assert read(tenant, action="organization.project") == [project]
    assert read(tenant, action="organization.invitation.accepted", actor="k1") == [key]
    assert read(tenant, actor="ADA@") == [project]
    assert read(tenant, target="bot") == [project]
    assert read(tenant, target="k2") == [key]
    assert read(tenant, actor="%") == []
    assert read(tenant, action="organization_project") == []
    assert read(tenant, since=project.occurred_at, action="organization.project") == [project]
    assert read(tenant, until=key.occurred_at, actor="k1") == []
    assert read(tenant, before=key.pk, actor="ada@") == []


@given(actor=st.text(max_size=20), target=st.text(max_size=20), action=st.text(max_size=20))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_a_filter(actor: str, target: str, action: str, tenant: Tenant) -> None:
    found = read(tenant, actor=actor, target=target, action=action)
    beginnings = tuple(action.replace(",", " ").split()) or ("",)
    assert all(event.action.startswith(beginnings) for event in found)


@pytest.mark.parametrize("field", ["action", "actor", "target"])
def test_a_nul_is_found_nowhere(field: str, tenant: Tenant) -> None:
    assert read(tenant, **{field: "a\0"}) == []


@given(size=st.integers(1, 7), more=st.integers(0, 3))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_pages_show_every_event_once_though_new_ones_come(size: int, more: int, tenant: Tenant) -> None:
    marker = Actor("user", uuid.uuid4().hex, "pager")
    written = [write(tenant, actor=marker).pk for _ in range(10)]
    seen: list[uuid.UUID] = []
    before: uuid.UUID | None = None
    while page := read(tenant, actor=marker.id, limit=size, before=before):
        seen += [event.pk for event in page]
        before = seen[-1]
        for _ in range(more):
            write(tenant, actor=marker)
    assert seen == sorted(written, reverse=True)
