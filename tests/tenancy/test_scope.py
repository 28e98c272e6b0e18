"""The tenant wall in Python: closed by default, for reads and for writes."""

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F, OuterRef, Subquery
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenancy import scope as wall
from tenancy.models import ApiKey, Invitation, Membership, Organization, Project
from tenancy.roles import Role
from tenancy.scope import NoScope, OfFirst, ScopeError, SqlCall, current_organization_id, one_trip, scope, unscoped
from tests.factories import Tenant
from tests.raw import connect

ENTER = SqlCall("tenancy_enter", ())


def setting() -> str:
    """What PostgreSQL thinks is in scope."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(current_setting('app.organization_id', true), '')")
        [(value,)] = cursor.fetchall()
        return str(value)


READS: dict[str, Callable[[], Any]] = {
    "all": lambda: list(Project.objects.all()),
    "get": lambda: Project.objects.get(slug="default"),
    "filter": lambda: list(Project.objects.filter(slug="default")),
    "count": Project.objects.count,
    "exists": Project.objects.exists,
    "aggregate": lambda: Project.objects.aggregate(n=F("id")),
    "values": lambda: list(Project.objects.values("id")),
    "iterator": lambda: list(Project.objects.iterator()),
    "in bulk": Project.objects.in_bulk,
    "raw": lambda: list(Project.objects.raw("SELECT * FROM tenancy_project")),
    "using another connection": lambda: list(Project.objects.using("owner")),
    "organization": Organization.objects.first,
    "current": current_organization_id,
}
WRITES: dict[str, Callable[[], Any]] = {
    "create": lambda: Project.objects.create(name="x", slug="x"),
    "save": lambda: Project(name="x", slug="x").save(),
    "bulk create": lambda: Project.objects.bulk_create([Project(name="x", slug="x")]),
    "update": lambda: Project.objects.update(name="x"),
    "delete": lambda: Project.objects.all().delete(),
    "get or create": lambda: Project.objects.get_or_create(slug="x"),
    "update or create": lambda: Project.objects.update_or_create(slug="x"),
    "organization": lambda: Organization(slug="x", name="x").save(),
    "organization update": lambda: Organization.objects.update(name="x"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_nothing_is_read_without_a_scope(read: Callable[[], Any]) -> None:
    with pytest.raises(NoScope):
        read()


@pytest.mark.django_db
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_nothing_is_written_without_a_scope(write: Callable[[], Any]) -> None:
    with pytest.raises(NoScope):
        write()


def test_objects_in_hand_are_of_no_use_outside_their_scope(tenant: Tenant) -> None:
    with scope(tenant.organization):
        project, key = Project.objects.get(), ApiKey.objects.get()
    for use in (
        project.save,
        project.delete,
        project.refresh_from_db,
        key.children.all,
        lambda: ApiKey(pk=key.pk, project_id=project.pk).project,
    ):
        with pytest.raises(NoScope):
            use()


def test_a_scope_shows_its_own_rows_alone(tenant: Tenant, stranger: Tenant) -> None:
    with scope(stranger.organization):
        assert Organization.objects.get() == stranger.organization
        assert [project.pk for project in Project.objects.all()] == [stranger.project.pk]
        assert not Project.objects.filter(pk=tenant.project.pk).exists()
        assert [key.pk for key in ApiKey.objects.raw("SELECT * FROM tenancy_apikey")] == [stranger.key.pk]
        outer = Project.objects.filter(pk=OuterRef("project_id"))
        named = ApiKey.objects.annotate(in_project=Subquery(outer.values("slug")[:1]))
        assert [key.in_project for key in named] == ["default"]
        assert not ApiKey.objects.filter(project__in=[tenant.project.pk]).exists()


def test_a_query_made_in_one_scope_finds_nothing_in_another(tenant: Tenant, stranger: Tenant) -> None:
    with scope(tenant.organization):
        carried = Project.objects.all()
    assert list(carried.all()) == []
    with scope(stranger.organization):
        assert list(carried.all()) == []
        assert carried.update(name="stolen") == 0
        assert carried.delete()[0] == 0
    with scope(tenant.organization):
        assert Project.objects.get().name == "Default"


@pytest.mark.parametrize(
    "write",
    [
        lambda project: project.save(),
        lambda project: project.delete(),
        lambda project: Project.objects.bulk_create([Project(organization_id=project.organization_id, slug="x")]),
        lambda project: Project.objects.create(organization_id=project.organization_id, slug="x"),
        lambda project: Project.objects.update(organization_id=project.organization_id),
        lambda project: Project.objects.update(organization=project.organization_id),
        lambda project: Project.objects.bulk_update([project], ["organization"]),
    ],
    ids=["save", "delete", "bulk_create", "create", "update id", "update", "bulk_update"],
)
def test_no_write_leaves_the_scope(write: Callable[[Project], Any], tenant: Tenant, stranger: Tenant) -> None:
    with scope(stranger.organization), pytest.raises(ScopeError):
        write(tenant.project)
    with scope(tenant.organization):
        assert Project.objects.get(pk=tenant.project.pk).name == "Default"


def test_a_write_that_gets_past_python_is_refused_by_postgresql(tenant: Tenant, stranger: Tenant) -> None:
    with scope(stranger.organization):
        assert wall.OwnedQuerySet(Project).filter(pk=tenant.project.pk).update(name="stolen") == 0
        assert wall.OwnedQuerySet(Project).filter(pk=tenant.project.pk).delete()[0] == 0
        assert Project.objects.bulk_update([tenant.project], ["name"]) == 0
        copy = Project(pk=tenant.project.pk, name="stolen", slug="stolen")
        with pytest.raises(IntegrityError), transaction.atomic():
            copy.save()
    with scope(tenant.organization):
        assert Project.objects.get(pk=tenant.project.pk).name == "Default"


def test_new_rows_belong_to_the_scope(tenant: Tenant) -> None:
    with scope(tenant.organization):
        saved = Project(name="Saved", slug="saved")
        saved.save()
        [bulk] = Project.objects.bulk_create([Project(name="Bulk", slug="bulk")])
        invited = Invitation.objects.create(email="a@example.com", role=Role.VIEWER, expires_at=timezone.now())
    assert {saved.organization_id, bulk.organization_id, invited.organization_id} == {tenant.organization.pk}


def test_deleting_a_row_takes_its_children_and_nothing_else(tenant: Tenant, stranger: Tenant) -> None:
    with scope(tenant.organization):
        tenant.project.delete()
        assert not ApiKey.objects.exists()
        assert Membership.objects.exists()
    with scope(stranger.organization):
        assert ApiKey.objects.exists()


def test_the_same_scope_nests_and_the_inner_one_rolls_back_alone(tenant: Tenant) -> None:
    with scope(tenant.organization) as organization_id:
        Project.objects.create(name="Outer", slug="outer")
        with pytest.raises(IntegrityError), scope(organization_id):
            Project.objects.bulk_create([Project(name="Inner", slug="inner"), Project(name="Inner", slug="outer")])
        assert setting() == str(organization_id)
        with scope(str(organization_id)):
            pass
        assert setting() == str(organization_id)
        assert {project.slug for project in Project.objects.all()} == {"default", "outer"}
    assert setting() == ""


def test_another_scope_does_not_open_inside(tenant: Tenant, stranger: Tenant) -> None:
    with scope(tenant.organization):
        for work in (
            lambda: scope(stranger.organization).__enter__(),
            lambda: one_trip(stranger.organization.pk, ENTER),
        ):
            with pytest.raises(ScopeError):
                work()
        assert setting() == str(tenant.organization.pk)


def test_one_scope_after_another_in_one_transaction(tenant: Tenant, stranger: Tenant) -> None:
    with transaction.atomic():
        for each in (tenant, stranger):
            with scope(each.organization):
                assert Project.objects.get() == each.project
            assert setting() == ""
            with pytest.raises(NoScope):
                Project.objects.count()


def test_an_error_closes_the_scope(tenant: Tenant) -> None:
    with pytest.raises(ZeroDivisionError), scope(tenant.organization):
        raise ZeroDivisionError
    assert setting() == ""
    with pytest.raises(NoScope):
        current_organization_id()


@pytest.mark.parametrize("wrong", [None, 7, b"x", ""])
@pytest.mark.django_db
def test_only_an_organization_makes_a_scope(wrong: Any) -> None:
    with pytest.raises((ScopeError, ValueError)), scope(wrong):
        pytest.fail("entered")


def test_another_row_s_id_makes_no_scope(tenant: Tenant) -> None:
    with pytest.raises(ScopeError, match=r"tenancy\.Project"), scope(tenant.project):
        pytest.fail("entered")


def test_the_scope_of_nobody_shows_nothing(tenant: Tenant) -> None:
    with scope(uuid.uuid4()):
        assert not Project.objects.exists()
        assert not Organization.objects.exists()


@pytest.fixture
def counting(django_db_setup: None) -> Iterator[None]:
    """Two SQL functions: one with any number of rows, one that leaves a project behind each time it runs."""
    with connect("superuser") as server:
        server.execute(
            """CREATE OR REPLACE FUNCTION test_rows(uuid, integer) RETURNS SETOF integer LANGUAGE plpgsql AS
            $$ BEGIN RETURN QUERY SELECT generate_series(1, $2); END $$;
            CREATE OR REPLACE FUNCTION test_leave(p_organization uuid) RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO tenancy_project (organization_id, id, name, slug, cors_origins, turn_retention_days,
                    idle_seal_minutes, created_at)
                VALUES (p_organization, gen_random_uuid(), 'left', gen_random_uuid()::text, '{}', 1, 1, now());
                RETURN p_organization;
            END $$"""
        )
        yield
        server.execute("DROP FUNCTION test_rows(uuid, integer), test_leave(uuid)")


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_one_trip_runs_the_later_calls_once_for_each_row_of_the_first(
    rows: int, counting: None, tenant: Tenant
) -> None:
    calls = [SqlCall("test_rows", (rows,)), SqlCall("test_leave", ())]
    assert one_trip(tenant.organization.pk, *calls) == [(n + 1,) for n in range(rows)]
    assert setting() == ""
    with scope(tenant.organization):
        assert Project.objects.filter(name="left").count() == rows


def test_a_later_call_takes_what_the_first_one_found(counting: None, tenant: Tenant) -> None:
    as_often_as_it_says = SqlCall("test_rows", (OfFirst("_c0"),))  # the column of a function without named ones
    rows = one_trip(tenant.organization.pk, SqlCall("test_rows", (3,)), as_often_as_it_says)
    assert sorted(rows) == [(1,), (2,), (2,), (3,), (3,), (3,)]


def test_one_trip_works_inside_its_own_scope(tenant: Tenant) -> None:
    with scope(tenant.organization):
        assert one_trip(tenant.organization.pk, ENTER) == [(tenant.organization.pk,)]
        assert setting() == str(tenant.organization.pk)


@pytest.mark.django_db
def test_looking_across_organizations_needs_a_reason() -> None:
    with pytest.raises(ScopeError), unscoped(reason=""):
        pytest.fail("entered")


def test_unscoped_gives_named_functions_and_no_tables(tenant: Tenant) -> None:
    with unscoped(reason="a test") as wide:
        [row] = wide.rows("tenancy_memberships", tenant.owner.pk)
        assert row["organization_id"] == tenant.organization.pk
        assert wide.rows("tenancy_organizations_closed_before", timezone.now() - timedelta(days=3650), 10) == []
        with pytest.raises(NoScope):
            Project.objects.count()


@given(name=st.text(max_size=40).filter(lambda text: "\0" not in text))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_function_s_name_is_never_sql(name: str, db: None) -> None:
    with pytest.raises(Exception), transaction.atomic(), unscoped(reason="a test") as wide:  # noqa: B017  # any refusal
        wide.rows(f"{name}; SELECT 1")
