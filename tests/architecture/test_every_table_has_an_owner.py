"""Every table is an organization's, behind forced row security, or global for a reason that stands here."""

from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.db import models

from tenancy.models import Organization
from tenancy.rls import CURRENT
from tenancy.scope import Owned, OwnedManager
from tests.raw import connect

# A whole app, or one model of it, and why its rows belong to no organization. Never list what a customer's data is in.
GLOBAL = {
    "admin": "made by Django's admin, never written: what staff do stands in admin_portal and in customers' audit",
    "admin_portal": "what members of staff did, for whichever customers; these read it in their own audit",
    "account": "e-mail addresses are a person's, who may belong to several organizations",
    "audit_sealing.Log": "how far the sealer is: one row, and the log of everybody's checkpoints",
    "audit_sealing.LogEntry": "a hash of a checkpoint's text: it says nothing of whose it is",
    "audit_sealing.LogNode": "a hash of such hashes",
    "audit_sealing.SigningKey": "the service's own key",
    "auth": "Django's groups and permissions, for staff",
    "audit.AuditDeletion": "in which transactions the trail may lose rows: the numbers of transactions",
    "billing.StripeEvent": "Stripe's events as they came, before it is known whose they are",
    "contenttypes": "Django's names of models",
    "django_celery_beat": "the schedule of our own jobs",
    "djstripe": "Stripe's objects as Stripe sends them, read by billing alone",
    "metering.RollUpPosition": "how far the sums reach: one number",
    "metering.SpoolMachine": "how far a machine's spool is stored: a moment",
    "metering.SpoolPosition": "how far a machine's spool is stored: file names and numbers",
    "metering.SpoolReject": "spool lines that name nobody, or nobody readable",
    "mfa": "second factors are a person's",
    "sandbox": "a twin of Stripe, which is outside: it knows customers of its own, no organizations",
    "sessions": "a browser's session is a person's",
    "socialaccount": "allauth's, never written: who somebody is to an identity provider is an organization's, in sso",
    "tenancy.OrganizationPurge": "the proof of a purge outlives its organization",
    "tenancy.User": "a person, who may belong to several organizations",
    "tenancy.User_groups": "for staff",
    "tenancy.User_user_permissions": "for staff",
    "usersessions": "the list of a person's sessions",
}
# References inside an organization that are not tied to it by a foreign key of two columns, and why
LOOSE = {
    ("memory_searchentry", "capsule_id"): (
        "memory_save alone writes it, with its capsule, for one organization; a key of two columns would need one more "
        "index on every capsule"
    ),
    ("memory_skilltrigger", "session_id"): (
        "memory_ingest alone writes it, behind the wall, for the session it has locked; a key of two columns needs "
        "one more index on every session"
    ),
    ("memory_turn", "session_id"): (
        "memory_ingest alone writes it, behind the wall, for the session it has locked; a second check would be paid "
        "twice on every turn"
    ),
}
OWNED = [model for model in apps.get_models() if issubclass(model, Owned)]
WALLED = {"tenancy_organization": "id"} | {model._meta.db_table: "organization_id" for model in OWNED}


@pytest.fixture
def server(django_db_setup: None) -> Any:
    """The catalogue of this worker's database."""
    with connect("superuser") as connection:
        yield connection


def is_global(model: type[models.Model]) -> bool:
    """Whether the list has the model or its app."""
    return model._meta.label in GLOBAL or model._meta.app_label in GLOBAL


@pytest.mark.parametrize("model", apps.get_models(include_auto_created=True), ids=lambda model: model._meta.label)
def test_every_model_is_owned_or_listed_as_global(model: type[models.Model]) -> None:
    is_owned = issubclass(model, Owned) or model is Organization
    assert is_owned != is_global(model), (
        f"{model._meta.label} must derive from tenancy.scope.OwnedModel, with rls.ForceRowSecurity in its migration; "
        "or stand in GLOBAL with a reason."
    )
    columns = {field.column for field in model._meta.concrete_fields}
    is_proof = model._meta.label == "tenancy.OrganizationPurge"
    assert is_owned or is_proof or "organization_id" not in columns, (
        f"{model._meta.label} has an owner: it is not global."
    )


def test_no_reason_outlives_its_table() -> None:
    labels = {model._meta.label for model in apps.get_models(include_auto_created=True)}
    assert not [name for name in GLOBAL if name not in labels | {config.label for config in apps.get_app_configs()}]


@pytest.mark.parametrize("table", WALLED)
def test_the_wall_stands_around_every_owned_table(table: str, server: psycopg.Connection[Any]) -> None:
    forced = server.execute(
        "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = %s::regclass", [table]
    ).fetchone()
    assert forced == (True, True), f'Add ForceRowSecurity("{table}") to its migration.'
    policies = server.execute(
        "SELECT policyname, permissive, roles::text[], cmd, qual, with_check FROM pg_policies WHERE tablename = %s",
        [table],
    ).fetchall()
    [(name, permissive, roles, command, using, check)] = policies
    assert (name, permissive, roles, command) == ("tenant_wall", "PERMISSIVE", ["public"], "ALL")
    assert using == check
    assert normalized(using) == normalized(f"({WALLED[table]} = {CURRENT})"), "Only a pure equality can use an index."


def normalized(expression: str) -> str:
    """An SQL expression without what PostgreSQL adds when it prints one."""
    return expression.lower().replace("::text", "").replace(" ", "").replace("(", "").replace(")", "")


def test_no_table_in_the_database_escapes_the_models(server: psycopg.Connection[Any]) -> None:
    tables = {
        name
        for (name,) in server.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition "
            "AND c.relnamespace = 'public'::regnamespace"
        )
    }
    modelled = {model._meta.db_table for model in apps.get_models(include_auto_created=True, include_swapped=True)}
    historic = {name for name in tables - modelled if name.startswith(("djstripe_", "django_"))}
    assert tables - modelled - historic == set(), "A table made by hand needs a model, so that these tests see it."


def test_every_table_with_an_organization_is_behind_the_wall(server: psycopg.Connection[Any]) -> None:
    found = {
        name
        for (name,) in server.execute(
            "SELECT table_name FROM information_schema.columns "
            "JOIN pg_class c ON c.oid = format('%I.%I', table_schema, table_name)::regclass "
            "WHERE column_name = 'organization_id' AND table_schema = 'public' AND NOT c.relispartition"
        )
    }
    assert found - {"tenancy_organizationpurge"} == set(WALLED) - {"tenancy_organization"}


def test_nobody_reaches_a_partition_past_its_table_s_wall(server: psycopg.Connection[Any]) -> None:
    rights = server.execute(
        "SELECT c.relname, r.role, p.privilege FROM pg_class c, "
        "unnest(array['capsule_app', 'public']) AS r(role), "
        "unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS p(privilege) "
        "WHERE c.relispartition AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace "
        "AND has_table_privilege(r.role, c.oid, p.privilege)"
    ).fetchall()
    assert rights == [], "Row security stands on the table alone: REVOKE every right on its partitions."


@pytest.mark.parametrize("model", OWNED, ids=lambda model: model._meta.label)
def test_every_way_to_an_owned_model_is_closed_by_default(model: type[models.Model]) -> None:
    assert isinstance(model._default_manager, OwnedManager), "Declare no other manager."
    assert isinstance(model._base_manager, OwnedManager), "Derive its Meta from OwnedModel.Meta."


def test_references_between_owned_tables_stay_inside_their_organization(server: psycopg.Connection[Any]) -> None:
    keys = server.execute(
        """SELECT c.conrelid::regclass::text, c.confrelid::regclass::text, array(
               SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k(number, place)
               JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number ORDER BY k.place
           ) FROM pg_constraint c WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace"""
    ).fetchall()
    inner = [key for key in keys if key[0] in WALLED and key[1] in WALLED and key[1] != "tenancy_organization"]
    tied = {(table, columns[1]) for table, _, columns in inner if columns[0] == "organization_id"}
    single = {(table, columns[0]) for table, _, columns in inner if len(columns) == 1}
    assert single - tied == set(LOOSE), "Add rls.SameOrganization to the migration: foreign keys ignore row security."


def test_the_scope_s_setting_is_set_in_one_place(server: psycopg.Connection[Any]) -> None:
    functions = server.execute(
        "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace "
        "AND p.prosrc ~* 'set_config|SET\\s+(LOCAL\\s+)?app\\.'"
    ).fetchall()
    assert functions == [("tenancy_enter",)]
