"""The wall's migration operations work, and can be taken back."""

import uuid
from typing import Any

import pytest
from django.db import ProgrammingError, connections, transaction
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from tenancy.rls import DefinerFunction, ForceRowSecurity, Function, SameOrganization

pytestmark = pytest.mark.django_db(databases=["owner"])
STATE = ProjectState()


class Owner:
    """The owner's connection, inside the test's transaction."""

    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """Run it; the rows, or an empty list."""
        with connections["owner"].cursor() as cursor:
            cursor.execute(query, params or None)
            return cursor.fetchall() if cursor.description else []

    def run(self, operation: Operation, *, back: bool = False) -> None:
        """Apply the operation, or take it back."""
        operation.state_forwards("tenancy", STATE)
        with connections["owner"].schema_editor() as editor:
            way = operation.database_backwards if back else operation.database_forwards
            way("tenancy", editor, STATE, STATE)


@pytest.fixture
def owner(db: None) -> Owner:
    """The owner with two scratch tables, which the test's rollback takes away."""
    owner = Owner()
    owner.rows("CREATE TABLE scratch_shelf (id uuid PRIMARY KEY, organization_id uuid)")
    owner.rows("CREATE TABLE scratch_book (id uuid, organization_id uuid, shelf_id uuid REFERENCES scratch_shelf (id))")
    return owner


def flags(owner: Owner) -> list[tuple[Any, ...]]:
    """Whether row security is on and forced, and the policies."""
    return owner.rows(
        "SELECT relrowsecurity, relforcerowsecurity, (SELECT count(*) FROM pg_policies WHERE tablename = relname) "
        "FROM pg_class WHERE relname = 'scratch_shelf'"
    )


def test_row_security_goes_up_and_comes_down(owner: Owner) -> None:
    wall = ForceRowSecurity("scratch_shelf")
    owner.run(wall)
    assert flags(owner) == [(True, True, 1)]
    with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic("owner"):
        owner.rows("INSERT INTO scratch_shelf VALUES (%s, %s)", uuid.uuid4(), uuid.uuid4())
    owner.run(wall, back=True)
    assert flags(owner) == [(False, False, 0)]
    assert "scratch_shelf" in wall.describe()


def test_a_reference_is_tied_to_its_organization_and_let_go(owner: Owner) -> None:
    tie = SameOrganization("scratch_book", "shelf_id", "scratch_shelf")
    shelf, mine, theirs = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    owner.rows("INSERT INTO scratch_shelf VALUES (%s, %s)", shelf, mine)
    owner.run(tie)
    owner.rows("INSERT INTO scratch_book VALUES (%s, %s, %s)", uuid.uuid4(), mine, shelf)
    owner.rows("INSERT INTO scratch_book VALUES (%s, %s, NULL)", uuid.uuid4(), theirs)
    owner.rows("SET CONSTRAINTS ALL IMMEDIATE")
    with pytest.raises(Exception, match="same_organization"), transaction.atomic("owner"):
        owner.rows("INSERT INTO scratch_book VALUES (%s, %s, %s)", uuid.uuid4(), theirs, shelf)
    owner.run(tie, back=True)
    owner.rows("INSERT INTO scratch_book VALUES (%s, %s, %s)", uuid.uuid4(), theirs, shelf)
    assert "scratch_book.shelf_id" in tie.describe()


BODY = "scratch_answer(p integer) RETURNS integer LANGUAGE sql AS $$ SELECT p + {} $$"


@pytest.mark.parametrize("kind", [Function, DefinerFunction])
def test_a_function_is_the_application_s_alone(kind: type[Function], owner: Owner) -> None:
    function = kind("scratch_answer(integer)", BODY.format(1))
    owner.run(function)
    [(is_definer, role, public, ours)] = owner.rows(
        "SELECT p.prosecdef, r.rolname, has_function_privilege('public', p.oid, 'EXECUTE'), "
        "has_function_privilege('capsule_app', p.oid, 'EXECUTE') "
        "FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.proname = 'scratch_answer'"
    )
    assert (public, ours) == (False, True)
    assert (is_definer, role) == ((True, "capsule_definer") if kind is DefinerFunction else (False, "capsule_owner"))
    assert "scratch_answer" in function.describe()
    newer = kind("scratch_answer(integer)", BODY.format(2), is_replacement=True)
    owner.run(newer)
    assert owner.rows("SELECT scratch_answer(1)") == [(3,)]
    owner.run(newer, back=True)
    assert owner.rows("SELECT scratch_answer(1)") == [(3,)]
    owner.run(function, back=True)
    assert owner.rows("SELECT count(*) FROM pg_proc WHERE proname = 'scratch_answer'") == [(0,)]
