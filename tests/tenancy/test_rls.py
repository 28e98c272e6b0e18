"""The tenant wall in PostgreSQL: raw SQL as the application's role, on every table that an organization owns."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.apps import apps
from django.db import models
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from tenancy.scope import Owned
from tests.factories import Tenant
from tests.raw import connect, insert, inside, plant, rows_of, sample_row

OWNED: list[type[models.Model]] = [model for model in apps.get_models() if issubclass(model, Owned)]
TABLES = [("tenancy_organization", "id")] + [(model._meta.db_table, "organization_id") for model in OWNED]
every_table = pytest.mark.parametrize(("table", "column"), TABLES, ids=[table for table, _ in TABLES])


@pytest.fixture
def app(django_db_setup: None) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the application's role."""
    with connect("app") as connection:
        yield connection


@pytest.fixture
def mine(committed: tuple[Tenant, Tenant]) -> Tenant:
    """The organization in scope."""
    return committed[0]


@pytest.fixture
def theirs(committed: tuple[Tenant, Tenant]) -> Tenant:
    """The organization that must stay untouched."""
    return committed[1]


def ensure_row(table: str, column: str, organization_id: UUID) -> list[str]:
    """The organization's rows in the table, at least one."""
    if not rows_of(table, column, organization_id):
        plant(table, column, organization_id)
    return rows_of(table, column, organization_id)


def execute(connection: psycopg.Connection[Any], query: str, table: str, column: str, *params: Any) -> int:
    """Run it and return the number of rows; 0 where the right to do it at all is missing."""
    composed = sql.SQL(query).format(table=sql.Identifier(table), column=sql.Identifier(column))
    try:
        with connection.transaction():
            return connection.execute(composed, params).rowcount
    except InsufficientPrivilege as error:
        if "permission denied for table" not in str(error):
            raise
        return 0


# Where a trigger looks for the parent row first, which the wall hides from it, or no right to insert is given
REFUSED_BEFORE = {
    "audit_auditevent": "permission denied for table",
    "audit_sealing_checkpoint": "permission denied for table",
    "audit_sealing_leaf": "permission denied for table",
    "audit_sealing_node": "permission denied for table",
    "audit_sealing_treehead": "permission denied for table",
    "invoicing_invoiceline": "an invoice gets its lines while it is a draft",
    "metering_usageperiod": "permission denied for table",
    "metering_usageadjustment": "permission denied for table",
}


def refuses(table: str) -> Any:
    """The refusal of a row that is not of the organization in scope."""
    if table in REFUSED_BEFORE:
        return pytest.raises(psycopg.Error, match=REFUSED_BEFORE[table])
    return pytest.raises(InsufficientPrivilege, match="row-level security")


@every_table
def test_a_tenant_sees_and_changes_nothing_of_another(
    table: str, column: str, app: psycopg.Connection[Any], mine: Tenant, theirs: Tenant
) -> None:
    own, other = mine.organization.pk, theirs.organization.pk
    ensure_row(table, column, own)
    before = ensure_row(table, column, other)
    with inside(app, own):
        assert execute(app, "SELECT 1 FROM {table} WHERE {column} = %s", table, column, own) >= 1
        assert execute(app, "SELECT 1 FROM {table} WHERE {column} = %s", table, column, other) == 0
        assert execute(app, "SELECT 1 FROM {table} WHERE {column} <> %s", table, column, own) == 0
        assert execute(app, "UPDATE {table} SET {column} = {column} WHERE {column} = %s", table, column, other) == 0
        assert execute(app, "DELETE FROM {table} WHERE {column} = %s", table, column, other) == 0
    assert rows_of(table, column, other) == before


@every_table
def test_a_tenant_cannot_write_into_another(
    table: str, column: str, app: psycopg.Connection[Any], mine: Tenant, theirs: Tenant
) -> None:
    own, other = mine.organization.pk, theirs.organization.pk
    ensure_row(table, column, own)
    row = sample_row(table, column, other)
    with refuses(table), inside(app, own):
        insert(app, table, row)
    moved = sql.SQL("UPDATE {} SET {} = %s").format(sql.Identifier(table), sql.Identifier(column))
    # where the role may not update at all, the same error comes earlier
    with pytest.raises(InsufficientPrivilege), inside(app, own):
        app.execute(moved, [other])


@every_table
def test_without_a_scope_there_are_no_rows(table: str, column: str, app: psycopg.Connection[Any], mine: Tenant) -> None:
    own = mine.organization.pk
    before = ensure_row(table, column, own)
    assert execute(app, "SELECT 1 FROM {table}", table, column) == 0
    assert execute(app, "UPDATE {table} SET {column} = {column}", table, column) == 0
    assert execute(app, "DELETE FROM {table}", table, column) == 0
    with refuses(table):
        insert(app, table, sample_row(table, column, own))
    assert rows_of(table, column, own) == before


@every_table
def test_the_owner_of_the_tables_is_bound_too(table: str, column: str, mine: Tenant) -> None:
    ensure_row(table, column, mine.organization.pk)
    with connect("owner") as owner:
        assert execute(owner, "SELECT 1 FROM {table}", table, column) == 0


@every_table
@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE {table}",
        "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY tenant_wall ON {table}",
        "CREATE POLICY hole ON {table} USING (true)",
        "DROP TABLE {table}",
        "CREATE RULE hole AS ON INSERT TO {table} DO NOTHING",
        "CREATE TRIGGER hole BEFORE INSERT ON {table} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ],
)
def test_the_application_cannot_take_the_wall_down(
    table: str, column: str, statement: str, app: psycopg.Connection[Any]
) -> None:
    with pytest.raises(InsufficientPrivilege):
        app.execute(sql.SQL(statement).format(table=sql.Identifier(table)))


@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE capsule_definer",
        "SET ROLE capsule_owner",
        "SET SESSION AUTHORIZATION capsule_owner",
        "ALTER ROLE capsule_app BYPASSRLS",
        "CREATE TABLE hole (id int)",
        "CREATE TEMP TABLE hole (id int)",
        "CREATE SCHEMA hole",
        "CREATE EXTENSION dblink",
        "SET session_replication_role = replica",
    ],
)
def test_the_application_has_no_way_around_the_wall(statement: str, app: psycopg.Connection[Any]) -> None:
    with pytest.raises(InsufficientPrivilege):
        app.execute(statement.encode())


def test_switching_row_security_off_fails_instead_of_showing_rows(app: psycopg.Connection[Any], mine: Tenant) -> None:
    app.execute("SET row_security = off")
    with pytest.raises(InsufficientPrivilege):
        app.execute("SELECT 1 FROM tenancy_project")


def test_the_application_owns_nothing_and_cannot_bypass(app: psycopg.Connection[Any]) -> None:
    assert app.execute(
        "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles "
        "WHERE rolname = current_user"
    ).fetchone() == (False, False, False, False, False)
    assert app.execute("SELECT count(*) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid "
                       "WHERE r.rolname = current_user AND d.deptype = 'o'").fetchone() == (0,)  # fmt: skip
    assert app.execute("SELECT array_agg(rolname) FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')").fetchone() == (
        ["capsule_app"],
    )


def test_no_view_shows_what_the_wall_hides(app: psycopg.Connection[Any]) -> None:
    open_views = app.execute(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('v', 'm') "
        "AND c.relnamespace = 'public'::regnamespace AND NOT (c.relkind = 'v' "
        "AND coalesce(c.reloptions, '{}') && ARRAY['security_invoker=true', 'security_invoker=on']) "
        "AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"
    ).fetchall()
    assert open_views == [], (
        "Give the view WITH (security_invoker = true); a materialized one holds every tenant's rows."
    )


def test_definer_functions_are_few_pinned_and_for_the_application_alone(app: psycopg.Connection[Any]) -> None:
    found = app.execute(
        "SELECT p.oid::regprocedure::text, r.rolname, p.proconfig, "
        "has_function_privilege('public', p.oid, 'EXECUTE'), has_function_privilege('capsule_app', p.oid, 'EXECUTE') "
        "FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner "
        "WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace"
    ).fetchall()
    assert found
    for signature, owner, config, is_public, is_ours in found:
        assert owner == "capsule_definer", signature
        assert "search_path=public, pg_temp" in config, signature
        assert not is_public, signature
        assert is_ours, signature


def test_no_function_of_ours_is_for_everyone(app: psycopg.Connection[Any]) -> None:
    found = app.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace "
        "AND has_function_privilege('public', p.oid, 'EXECUTE') "
        "AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"
    ).fetchall()
    assert found == [], "Create it with rls.Function or rls.DefinerFunction."


@pytest.mark.parametrize("column", ["project_id", "parent_id", "successor_id"])
def test_a_key_cannot_point_into_another_organization(
    column: str, app: psycopg.Connection[Any], mine: Tenant, theirs: Tenant
) -> None:
    target = theirs.project.pk if column == "project_id" else theirs.key.pk
    change = sql.SQL("UPDATE tenancy_apikey SET {} = %s").format(sql.Identifier(column))
    with pytest.raises(psycopg.errors.ForeignKeyViolation), inside(app, mine.organization.pk):
        app.execute(change, [target])
