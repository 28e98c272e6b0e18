"""The tenant wall in Python: no scope, no rows; PostgreSQL's row-level security stands under it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID

import uuid_utils.compat as uuid_utils
from django.db import DEFAULT_DB_ALIAS, connection, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from psycopg import Cursor, sql

Row = TypeVar("Row", bound=models.Model)
_current: ContextVar[UUID | None] = ContextVar("organization_id", default=None)


class ScopeError(Exception):
    """Code reached for another organization's rows, or for any without saying whose. A retry does not help."""


class NoScope(ScopeError):
    """An organization's rows were asked for outside `with scope(organization):`."""


def current_organization_id() -> UUID:
    """The organization that this code works for. Raises NoScope."""
    organization_id = _current.get()
    if organization_id is None:
        raise NoScope("No organization is in scope: wrap the work in `with scope(organization):`.")
    return organization_id


def is_in_scope(organization_id: UUID) -> bool:
    """Whether this organization is the one that code works for."""
    return _current.get() == organization_id


@contextmanager
def scope(organization: "UUID | str | models.Model") -> Iterator[UUID]:
    """Open one transaction for one organization (or its id; as text in a task's arguments), and yield its id.

    It holds in Python and in PostgreSQL. The setting is transaction-local, so it never outlives the transaction: safe
    under connection pools and PgBouncer's transaction pooling. Nesting for the same organization is a
    savepoint; for another one it raises ScopeError.
    """
    organization_id = _id_of(organization)
    active = _active_beside(organization_id)
    is_inner = connection.in_atomic_block
    with transaction.atomic():
        _enter(organization_id)
        token = _current.set(organization_id)
        try:
            yield organization_id
        finally:
            _current.reset(token)
    if is_inner and active is None:
        _enter(None)  # an outer transaction goes on: it must not keep what this scope could see


def _id_of(organization: "UUID | str | models.Model | None") -> UUID:
    if isinstance(organization, models.Model):
        if organization._meta.label != "tenancy.Organization":
            raise ScopeError(f"A scope is an organization's, not a {organization._meta.label}'s.")
        organization = organization.pk
    if isinstance(organization, str):
        organization = UUID(organization)
    if not isinstance(organization, UUID):
        raise ScopeError(f"{organization!r} is no organization.")
    return organization


def _active_beside(organization_id: UUID) -> UUID | None:
    """The organization in scope, if any. Raises ScopeError when it is another one."""
    active = _current.get()
    if active is not None and active != organization_id:
        raise ScopeError(f"Organization {active} is in scope: work for {organization_id} belongs after it.")
    return active


def _enter(organization_id: UUID | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.organization_id', %s, true)", [str(organization_id or "")])


@dataclass(frozen=True, slots=True)
class OfFirst:
    """As a parameter of a later call: this column of the row that the first call gives."""

    column: str


@dataclass(frozen=True, slots=True)
class SqlCall:
    """A call of one of our SQL functions, whose first argument is always the organization in scope."""

    function: str
    params: tuple[Any, ...]


def one_trip(organization_id: UUID, *calls: SqlCall) -> list[tuple[Any, ...]]:
    """Run the calls for the organization in one statement: one round trip, one transaction. Returns the first's rows.

    The hot path's way through the wall: each call takes what `tenancy_enter` returns, so PostgreSQL cannot run it
    before the organization is set. Later calls run after the first, once for each of its rows: not at all when it
    has none.
    """
    active = _active_beside(organization_id)
    values = [param for call in calls for param in call.params if not isinstance(param, OfFirst)]
    mine = connections[DEFAULT_DB_ALIAS]  # the proxy `connection` looks it up for each attribute
    with _preparing(mine) as cursor:
        cursor.execute(_statement(*map(_shape, calls)), [organization_id, *values])
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        if mine.in_atomic_block and active is None:
            _enter(None)
    return rows


Shape = tuple[str, tuple[str | None, ...]]  # a function, and for each parameter the first call's column, if it is one


def _shape(call: SqlCall) -> Shape:
    return call.function, tuple([param.column if isinstance(param, OfFirst) else None for param in call.params])


@lru_cache(maxsize=1_000)
def _statement(*calls: Shape) -> str:
    # Only a dependence fixes the order: left free, the planner runs what promises fewer rows first.
    after = "CASE WHEN _c0 IS NULL THEN _org ELSE _org END"
    sources = ", ".join(
        f"LATERAL {function}({', '.join([after if n else '_org', *map(_place, columns)])}) AS _c{n}"
        for n, (function, columns) in enumerate(calls)
    )
    return f"SELECT _c0.* FROM tenancy_enter(%s) AS _org, {sources}"  # noqa: S608  # the names are ours


def _place(column: str | None) -> str:
    return f"_c0.{column}" if column else "%s"


def preparing_cursor() -> CursorWrapper:
    """A cursor that sends parameters apart from the statement.

    Django's own writes them into its text, so that PostgreSQL parses and plans every request anew, and never prepares.
    """
    return _preparing(connections[DEFAULT_DB_ALIAS])


def _preparing(mine: BaseDatabaseWrapper) -> CursorWrapper:
    mine.ensure_connection()
    wrap = mine.make_debug_cursor if mine.queries_logged else mine.make_cursor
    return wrap(Cursor(mine.connection))  # type: ignore[arg-type]  # the stubs say what it returns, not takes


class Wide:
    """What `unscoped` yields: calls of the few SECURITY DEFINER functions that look across organizations."""

    def rows(self, function: str, *args: Any) -> list[dict[str, Any]]:
        """The rows of one such function, as dictionaries."""
        holes = sql.SQL(", ").join([sql.Placeholder()] * len(args))
        query = sql.SQL("SELECT * FROM {}({})").format(sql.Identifier(function), holes)
        with preparing_cursor() as cursor:
            cursor.execute(query, args)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def unscoped(*, reason: str) -> Iterator[Wide]:
    """Say why code must look across organizations; it gets named functions, never tables.

    Each such function (migrations create them with `rls.DefinerFunction`) answers one narrow question: "whose key is
    this?", "which sessions are due?". The work on what they name happens in that organization's own scope.
    """
    if not reason:
        raise ScopeError("unscoped() needs a reason.")
    yield Wide()


class OwnedQuerySet(models.QuerySet[Row]):
    """Rows of the organization in scope; writes cannot leave it."""

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> list[Row]:
        """As Django's, for objects of the organization in scope alone."""
        objs = list(objs)
        for obj in objs:
            _own(obj)
        return super().bulk_create(objs, *args, **kwargs)

    def update(self, **kwargs: Any) -> int:
        """As Django's; the organization itself cannot be changed."""
        if "organization" in kwargs or "organization_id" in kwargs:
            raise ScopeError("A row cannot move to another organization.")
        return super().update(**kwargs)


class OwnedManager(models.Manager[Row]):
    """Closed by default: raises NoScope outside a scope, and shows the scope's rows alone."""

    def get_queryset(self) -> OwnedQuerySet[Row]:
        """Every row of the organization in scope."""
        return OwnedQuerySet(self.model, using=self._db).filter(organization_id=current_organization_id())


def _own(obj: Any) -> None:
    organization_id = current_organization_id()
    if obj.organization_id is None:
        obj.organization_id = organization_id
    elif obj.organization_id != organization_id:
        raise ScopeError(f"{obj._meta.label} of {obj.organization_id} was written in the scope of {organization_id}.")


class Owned(models.Model):
    """A table that an organization owns; its migration adds `rls.ForceRowSecurity`.

    Subclasses have an `organization_id`: a foreign key (OwnedModel) or, for records that outlive it, a plain UUID.
    """

    organization_id: Any
    # Purges a closed organization's rows where the application may not delete: a function that returns the count
    purge_function: ClassVar[str] = ""
    id = models.UUIDField(primary_key=True, default=uuid_utils.uuid7, editable=False)
    objects: ClassVar[OwnedManager[Self]] = OwnedManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """As Django's, inside the owner's scope alone; a new row gets the scope's organization."""
        _own(self)
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """As Django's, inside the owner's scope alone."""
        _own(self)
        return super().delete(*args, **kwargs)


class OwnedModel(Owned):
    """A table that an organization owns and that ends with it."""

    organization = models.ForeignKey("tenancy.Organization", on_delete=models.CASCADE, related_name="+")

    class Meta(Owned.Meta):
        abstract = True
