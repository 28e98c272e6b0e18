"""Whoever has the application's role cannot change, delete, forge or misplace an event."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import orjson
import psycopg
import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from tenancy.audit import actions, partitions
from tenancy.audit.models import AuditEvent
from tenancy.audit.selectors import first_id
from tenancy.audit.services import SYSTEM, Target, record
from tenancy.scope import scope
from tests.factories import Tenant, make_tenant
from tests.raw import connect, inside, rows_of

THING = Target("project", "p1", "Support Bot")
APPEND = "SELECT audit_append(%s, %s, %s, %s, %s)"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def app() -> Iterator[psycopg.Connection[Any]]:
    """Whoever has taken over the application."""
    with connect("app") as connection:
        yield connection


@pytest.fixture
def owner() -> Iterator[psycopg.Connection[Any]]:
    """A migration, or somebody with its password."""
    with connect("owner") as connection:
        yield connection


@pytest.fixture
def committed() -> Tenant:
    """A tenant that other connections see."""
    return make_tenant()


def trail(tenant: Tenant) -> list[str]:
    return rows_of("audit_auditevent", "organization_id", tenant.organization.pk)


def this_month() -> str:
    return f"audit_auditevent_{timezone.now():%Y_%m}"


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE audit_auditevent SET body = '{}'",
        "UPDATE audit_auditevent SET organization_id = organization_id",
        "DELETE FROM audit_auditevent",
        "TRUNCATE audit_auditevent",
        "TRUNCATE audit_auditevent_rest",
        "SELECT * FROM {month}",
        "INSERT INTO {month} SELECT * FROM audit_auditevent",
        "UPDATE {month} SET body = '{}'",
        "DELETE FROM {month}",
        "TRUNCATE {month}",
        "DROP TABLE {month}",
        "ALTER TABLE audit_auditevent DETACH PARTITION {month}",
        "ALTER TABLE audit_auditevent DISABLE TRIGGER ALL",
        "ALTER TABLE audit_auditevent DISABLE TRIGGER no_change",
        "DROP TRIGGER no_change ON audit_auditevent",
        "SET session_replication_role = replica",
        "INSERT INTO audit_auditevent SELECT * FROM audit_auditevent ON CONFLICT DO NOTHING",
        "INSERT INTO audit_auditevent TABLE audit_auditevent ON CONFLICT (organization_id, id) DO UPDATE SET xid='1'",
        "MERGE INTO audit_auditevent e USING (SELECT 1) AS x ON true WHEN MATCHED THEN DELETE",
        "COPY audit_auditevent FROM STDIN",
        "INSERT INTO audit_auditdeletion VALUES (pg_current_xact_id())",
        "SELECT * FROM audit_auditdeletion",
        "SELECT audit_append_anywhere('{organization}', 'x', '', '', '{{\"v\":1}}')",
        "SET ROLE capsule_definer",
        "SET SESSION AUTHORIZATION capsule_definer",
        "CREATE RULE quiet AS ON DELETE TO audit_auditevent DO INSTEAD NOTHING",
        "ALTER FUNCTION audit_refuse_change() OWNER TO capsule_app",
        "CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE sql AS 'SELECT 1'",
    ],
)
def test_the_application_s_role_can_only_append_and_read(
    attack: str, committed: Tenant, app: psycopg.Connection[Any]
) -> None:
    before = trail(committed)
    statement = attack.replace("{month}", this_month()).replace("{organization}", str(committed.organization.pk))
    with pytest.raises(errors.InsufficientPrivilege), inside(app, committed.organization.pk):
        app.execute(statement.replace("{{", "{").replace("}}", "}").encode())
    assert before
    assert trail(committed) == before


@pytest.mark.parametrize(
    "mistake",
    [
        "UPDATE audit_auditevent SET action = 'x'",
        "DELETE FROM audit_auditevent",
        "TRUNCATE audit_auditevent",
        "TRUNCATE {month}",
        "TRUNCATE audit_auditevent_rest",
        "SET LOCAL session_replication_role = replica; DELETE FROM audit_auditevent",
        "SET LOCAL session_replication_role = replica; TRUNCATE {month}",
        "INSERT INTO audit_auditdeletion VALUES ('1'); DELETE FROM audit_auditevent",
        "INSERT INTO audit_auditdeletion VALUES (pg_current_xact_id()); UPDATE audit_auditevent SET action = 'x'",
    ],
)
def test_the_triggers_stand_even_against_a_superuser_who_does_not_take_them_away(
    mistake: str, committed: Tenant
) -> None:
    before = trail(committed)
    refused = pytest.raises(errors.InsufficientPrivilege, match="append-only")
    with connect("superuser") as server, refused, server.transaction():
        server.execute(mistake.replace("{month}", this_month()).encode())
    assert trail(committed) == before


def test_the_number_of_a_transaction_opens_nothing_for_another(committed: Tenant) -> None:
    with connect("superuser") as one, connect("superuser") as other, one.transaction(force_rollback=True):
        one.execute("INSERT INTO audit_auditdeletion VALUES (pg_current_xact_id())")
        other.execute("SET ROLE capsule_definer")
        with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
            other.execute("DELETE FROM audit_auditevent")
    assert trail(committed)


def test_every_partition_has_every_trigger_and_each_fires_always(owner: psycopg.Connection[Any]) -> None:
    tables = owner.execute(
        "SELECT c.relname, coalesce(array_agg(concat(t.tgname, ' ', t.tgenabled) ORDER BY t.tgname) "
        "FILTER (WHERE t.tgname IS NOT NULL), '{}') FROM pg_class c "
        "LEFT JOIN pg_trigger t ON t.tgrelid = c.oid "
        "WHERE c.relname LIKE 'audit_auditevent%' AND c.relkind IN ('r', 'p') GROUP BY 1"
    ).fetchall()
    assert len(tables) >= 6
    assert {tuple(triggers) for _, triggers in tables} == {("no_change A", "no_truncate A")}


def test_an_event_of_another_organization_is_refused(committed: Tenant, app: psycopg.Connection[Any]) -> None:
    stranger = make_tenant()
    before = trail(stranger)
    with pytest.raises(errors.InsufficientPrivilege, match="scope"), inside(app, committed.organization.pk):
        app.execute(APPEND, [stranger.organization.pk, "x", "", "", '{"v":1}'])
    with pytest.raises(errors.InsufficientPrivilege, match="scope"):
        app.execute(APPEND, [stranger.organization.pk, "x", "", "", '{"v":1}'])
    assert trail(stranger) == before


@pytest.mark.parametrize(
    "body",
    [
        '{"id":"0198c5d2-f0e4-7b0c-9d6a-1b2c3d4e5f60","v":1}',
        '{"v":1,"recorded_at":"2020-01-01T00:00:00.000000Z"}',
        '{"v":1,"organization_id":"0198c5d2-f0e4-7b0c-9d6a-1b2c3d4e5f60"}',
        '{"v":1,"actor":{"id":"a","id":"b"}}',
        '{"v":1,\n"w":2}',
        '{"v":1}\n',
        '{"v":1} {"v":2}',
        '{"v":1',
        "[1]",
        "x",
        "",
        "null",
        "{}",
    ],
)
def test_a_body_that_forges_what_postgresql_says_is_refused(
    body: str, committed: Tenant, app: psycopg.Connection[Any]
) -> None:
    before = trail(committed)
    with pytest.raises(errors.InvalidParameterValue), inside(app, committed.organization.pk):
        app.execute(APPEND, [committed.organization.pk, "x", "", "", body])
    assert trail(committed) == before


def test_the_id_the_time_and_the_transaction_are_postgresql_s(committed: Tenant, app: psycopg.Connection[Any]) -> None:
    before = timezone.now()
    with inside(app, committed.organization.pk):
        row = app.execute(APPEND, [committed.organization.pk, "x", "a", "t", '{"v":1}']).fetchone()
        [number] = app.execute("SELECT pg_current_xact_id()::text").fetchall()
    assert row is not None
    said = orjson.loads(row[0])
    with scope(committed.organization):
        event = AuditEvent.objects.get(pk=said["id"])
    assert event.body == row[0]
    assert (event.actor_id, event.target_id) == ("a", "t")
    assert before - timedelta(seconds=1) < event.occurred_at <= timezone.now()
    assert first_id(event.occurred_at) <= event.pk < first_id(event.occurred_at + timedelta(seconds=1))
    with connect("superuser") as server:
        xids = server.execute("SELECT xid::text FROM audit_auditevent WHERE id = %s", [event.pk]).fetchall()
    assert xids == [number]


def test_an_event_goes_with_its_transaction(committed: Tenant) -> None:
    def fail() -> None:
        record(action=actions.PROJECT_UPDATED, actor=SYSTEM, target=THING)
        raise ZeroDivisionError

    before = trail(committed)
    with pytest.raises(ZeroDivisionError), scope(committed.organization):
        fail()
    assert trail(committed) == before


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@given(value=plain, reason=words)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_is_said_is_one_line_that_reads_as_it_was_said(
    value: Any, reason: str, committed: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(actions.CAP_SET), "check", lambda self, metadata, changes=None: None)
    with scope(committed.organization):
        said = record(action=actions.PROJECT_UPDATED, actor=SYSTEM, target=THING, metadata={"x": value}, reason=reason)
        stored = AuditEvent.objects.get(pk=said.pk)
    assert stored.metadata == {"x": value}
    assert stored.reason == reason
    assert "\n" not in stored.body
    assert stored.body.startswith(
        f'{{"id":"{stored.pk}","organization_id":"{committed.organization.pk}","recorded_at":"'
    )


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("a\0b", "a\ufffdb"),
        ("\0\0", "\ufffd\ufffd"),
        (r"\u0000", r"\u0000"),
        ("\\\0", "\\\ufffd"),
        ("\\\\\0", "\\\\\ufffd"),
        (r"\\u0000" + "\0", r"\\u0000" + "\ufffd"),
    ],
)
def test_a_nul_cannot_keep_an_event_from_being_recorded(said: str, stored: str, committed: Tenant) -> None:
    person = Target("user", "u1", said)
    with scope(committed.organization):
        event = record(action=actions.PROJECT_UPDATED, actor=SYSTEM, target=person, reason=said)
    assert (event.reason, event.target["label"]) == (stored, stored)


@pytest.mark.parametrize("value", [0.5, [1, {"deep": [1.0]}], 2**53 + 1, -(2**60), object(), "\ud800"])
def test_what_two_programs_would_write_in_two_ways_is_refused(
    value: Any, committed: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(actions.CAP_SET), "check", lambda self, metadata, changes=None: None)
    with scope(committed.organization), pytest.raises(TypeError):
        record(action=actions.PROJECT_UPDATED, actor=SYSTEM, target=THING, metadata={"x": value})


def test_an_event_outside_every_month_is_kept_told_and_moved_when_its_month_is_made(
    committed: Tenant, caplog: pytest.LogCaptureFixture, app: psycopg.Connection[Any]
) -> None:
    long_ago = timezone.now() - timedelta(days=40 * 366)
    old = uuid.UUID(int=first_id(long_ago).int + uuid.uuid4().int % 2**60)
    with connect("superuser") as server:
        server.execute(
            "INSERT INTO audit_auditevent (organization_id, id, action, actor_id, target_id, body) "
            "VALUES (%s, %s, 'x', '', '', '{}')",
            [committed.organization.pk, old],
        )
    partitions.make_partitions()
    assert "audit.outside_partitions" in caplog.text
    before = trail(committed)
    app.execute("SELECT audit_make_partitions(%s, %s)", [long_ago, long_ago])
    assert trail(committed) == before
    with connect("superuser") as server:
        [place] = server.execute("SELECT tableoid::regclass::text FROM audit_auditevent WHERE id = %s", [old])
        assert place == (f"audit_auditevent_{long_ago:%Y_%m}",)
        with pytest.raises(errors.InsufficientPrivilege):
            server.execute(f"TRUNCATE audit_auditevent_{long_ago:%Y_%m}".encode())
    assert app.execute("SELECT audit_make_partitions(%s, %s)", [long_ago, long_ago]).fetchall() == [(0,)]
