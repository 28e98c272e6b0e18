"""Keeps a directory's users and groups for the protocol: reads, writes, and what follows from writes."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from scim2_models import (
    NotFoundException,
    PreconditionFailedException,
    Resource,
    ResourceType,
    ResponseParameters,
    SearchRequest,
    UnauthorizedException,
    UniquenessException,
)
from scim2_server.storage import ScimStorage, SearchPage

from tenancy.scim import membership, provisioning, tables
from tenancy.scim.adapters import Document, GroupAdapter, UserAdapter
from tenancy.scim.directories.tokens import DirectoryPrincipal
from tenancy.scim.filters import check
from tenancy.scim.models import Directory, DirectoryGroup, DirectoryUser
from tenancy.scim.names import name_key
from tenancy.scim.resources import USER_TYPE
from tenancy.scim.searching import Search, position_of
from tenancy.scim.tables import as_id
from tenancy.services import organizations

Row = DirectoryUser | DirectoryGroup
ADAPTERS: dict[str | None, type[UserAdapter] | type[GroupAdapter]] = {"User": UserAdapter, "Group": GroupAdapter}


@dataclass(slots=True)
class Documents:
    """A page of resources as JSON."""

    total: int | None
    documents: list[Document]
    next: dict[str, Any] | None = None
    previous: dict[str, Any] | None = None


class DirectoryStorage(ScimStorage):
    """The resources of one directory, for one request; everything happens in the organization's scope.

    What another directory holds is not there. Whoever writes holds the organization's row first: two writes wait for
    each other, and neither locks the other out.
    """

    supports_cursors = True

    def __init__(self, principal: DirectoryPrincipal) -> None:
        self.principal, self.actor = principal, principal.actor
        self.is_bulk = False
        self.refused: list[provisioning.LastOwnerStays] = []  # of whom the organization is told
        self._is_locked = False
        self._more = {"User": 0, "Group": 0}  # than the directory's counts say

    @cached_property
    def directory(self) -> Directory:
        """The directory's row. Raises UnauthorizedException where it was removed since its token was looked up."""
        found = Directory.objects.filter(pk=self.principal.directory_id).first()
        if found is None:
            raise UnauthorizedException
        return found

    @contextmanager
    def operation(self) -> Iterator[None]:
        """One operation: of a bulk request, what fails is taken back alone."""
        if not self.is_bulk:
            yield
            return
        before = dict(self._more)
        try:
            with transaction.atomic():
                yield
        except BaseException:
            self._more = before
            raise

    def finish(self) -> None:
        """Write down how many there are now, at the end: whoever waits for it waits for no more than that."""
        users, groups = self._more.values()
        if users or groups:
            counts = {"user_count": F("user_count") + users, "group_count": F("group_count") + groups}
            Directory.objects.filter(pk=self.directory.pk).update(**counts)

    # -- Reading ----------------------------------------------------------------------------------------------------

    def get(
        self,
        resource_type: ResourceType,
        resource_id: str,
        *,
        response_parameters: ResponseParameters[Any] | None = None,
    ) -> Resource[Any]:
        """A resource: to be shown with these parameters, or in order to be written."""
        if response_parameters is None:
            return self.to_patch(resource_type, resource_id, None)
        return _model_of(self.document(resource_type, resource_id, response_parameters))

    def document(self, resource_type: ResourceType, resource_id: str, parameters: ResponseParameters[Any]) -> Document:
        """A resource as JSON, to be shown."""
        row = self._rows(resource_type).filter(pk=as_id(resource_id)).first()
        if row is None:
            raise _not_found(resource_type, resource_id)
        return self._documents([row], with_rows=wants(parameters, resource_type))[0]

    def search(
        self, resource_types: list[ResourceType], search_request: SearchRequest[Any], *, position: Any = None
    ) -> SearchPage:
        """A page of what was found, as resources."""
        page = self.documents(resource_types, search_request, position)
        return SearchPage(page.total, [_model_of(one) for one in page.documents], page.next, page.previous)

    def documents(self, types: list[ResourceType], request: SearchRequest[Any], position: Any) -> Documents:
        """A page of what was found, as JSON. Raises InvalidFilterException or InvalidCursorException."""
        if request.filter is not None:
            check(request.filter)
        places = [self._place(one) for one in types]
        search = Search(self.principal.directory_id, places, request)
        total = sum(map(self._count, types)) if request.filter is None else None
        by_cursor = request.cursor is not None
        page = search.by_cursor(position, total) if by_cursor else search.by_index(total)
        rows: dict[UUID, Row] = {}
        for one in types:
            ids = [found.id for found in page.found if found.kind == one.name]
            rows |= {row.pk: row for row in self._rows(one).filter(pk__in=ids)} if ids else {}
        there = [rows[found.id] for found in page.found if found.id in rows]
        shown = {one.name for one in types if wants(request, one)}
        documents = self._documents([row for row in there if _kind(row) in shown], with_rows=True)
        documents += self._documents([row for row in there if _kind(row) not in shown], with_rows=False)
        by_id = {one["id"]: one for one in documents}
        result = Documents(page.total, [by_id[str(row.pk)] for row in there])
        if page.found and page.has_more:
            result.next = position_of(page.found[-1], is_back=False)
        if page.found and page.has_less:
            result.previous = position_of(page.found[0], is_back=True)
        return result

    # -- Writing ----------------------------------------------------------------------------------------------------

    def create(self, resource_type: ResourceType, resource: Resource[Any]) -> Resource[Any]:
        """Store a new resource."""
        return _model_of(self.add(resource_type, resource))

    def update(
        self, resource_type: ResourceType, resource: Resource[Any], *, expected_version: str | None = None
    ) -> Resource[Any]:
        """Store a resource's new state, as a whole."""
        return _model_of(self.store(resource_type, resource, version=expected_version))

    def add(self, resource_type: ResourceType, resource: Resource[Any]) -> Document:
        """Store a new resource; a user becomes a member where their address lets them. Raises what `provision` does."""
        self._lock()
        now = timezone.now()
        kind = DirectoryUser if resource_type.name == USER_TYPE.name else DirectoryGroup
        row = kind(directory=self.directory, created_at=now, changed_at=now)
        self._take(row, resource)
        self._more[_kind(row)] += 1
        self._follow(row, resource)
        return self._document(row, is_written=False, is_new=True)

    def store(
        self,
        resource_type: ResourceType,
        resource: Resource[Any],
        *,
        version: str | None = None,
        only: Collection[UUID] | None = None,
    ) -> Document:
        """Store a resource's new state; with `only`, no other members of a group are known, nor change."""
        row = self._to_write(resource_type, resource.id, version)
        former_name = row.display_name if isinstance(row, DirectoryGroup) else ""
        row.revision += 1
        row.changed_at = timezone.now()
        self._take(row, resource)
        self._follow(row, resource, former_name=former_name, only=only)
        return self._document(row, is_written=False, only=only)

    def to_patch(self, resource_type: ResourceType, resource_id: str, only: Collection[UUID] | None) -> Resource[Any]:
        """A resource in order to be patched; with `only`, a group has no other members."""
        row = self._to_write(resource_type, resource_id)
        return _model_of(self._document(row, is_written=True, only=only))

    def delete(self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None) -> None:
        """Delete a resource: a user has nothing here any more, a group gives nothing any more."""
        row = self._to_write(resource_type, resource_id, expected_version)
        affected: list[DirectoryUser] = []
        if isinstance(row, DirectoryUser):
            with self._keeping_owners():
                provisioning.withdraw(row, actor=self.actor)
            membership.revise(user_ids=[row.pk])
        else:
            affected = membership.people([], [row.pk], self.directory)
            membership.revise(group_ids=[row.pk])
        kind = _kind(row)
        row.delete()
        self._more[kind] -= 1
        provisioning.groups_changed(affected, actor=self.actor)

    def _take(self, row: Row, resource: Resource[Any]) -> None:
        """Write what the resource says into the row. Raises InvalidValueException or UniquenessException.

        Nobody else writes meanwhile, so looking first is enough.
        """
        before = (row.name_key, row.external_id)
        ADAPTERS[_kind(row)](row).take(resource)
        others = type(row).objects.filter(directory=self.directory).exclude(pk=row.pk)
        taken = Q()
        if isinstance(row, DirectoryUser) and name_key(row.user_name) != before[0]:
            taken |= Q(name_key=name_key(row.user_name))
        if row.external_id not in {"", before[1]}:
            taken |= Q(external_id=row.external_id)
        if taken and (other := others.filter(taken).first()):
            what = "externalId" if other.external_id == row.external_id != "" else "userName"
            raise UniquenessException(detail=f"Another {_kind(row).lower()} of this directory has this {what}.")
        row.save()

    def _follow(self, row: Row, resource: Any, *, former_name: str = "", only: Collection[UUID] | None = None) -> None:
        """What follows from a row that was written."""
        if isinstance(row, DirectoryUser):
            with self._keeping_owners():
                provisioning.provision(row, actor=self.actor)
            return
        change = membership.replace(self.directory, row, resource.members or [], only)
        groups = {row.pk} if former_name not in {"", row.display_name} else change.groups
        affected = membership.people(change.users, groups, self.directory)
        provisioning.groups_changed(affected, actor=self.actor)

    @contextmanager
    def _keeping_owners(self) -> Iterator[None]:
        try:
            yield
        except provisioning.LastOwnerStays as failure:
            self.refused.append(failure)
            raise

    # -- Rows -------------------------------------------------------------------------------------------------------

    def _lock(self) -> None:
        if not self._is_locked:
            organizations.locked()
            self._is_locked = True

    def _to_write(self, resource_type: ResourceType, resource_id: str | None, version: str | None = None) -> Row:
        self._lock()
        found = self._rows(resource_type).select_for_update(no_key=True)
        row: Row | None = found.filter(pk=as_id(resource_id)).first()
        if row is None:
            raise _not_found(resource_type, resource_id)
        row.directory = self.directory
        if version is not None and version != ADAPTERS[_kind(row)](row).version:
            raise PreconditionFailedException
        return row

    def _rows(self, resource_type: ResourceType) -> Any:
        kind = DirectoryUser if resource_type.name == USER_TYPE.name else DirectoryGroup
        return kind.objects.filter(directory_id=self.principal.directory_id)

    def _place(self, resource_type: ResourceType) -> tables.Place:
        make = tables.users if resource_type.name == USER_TYPE.name else tables.groups
        return make(self.principal)

    def _count(self, resource_type: ResourceType) -> int:
        is_user = resource_type.name == USER_TYPE.name
        stored = self.directory.user_count if is_user else self.directory.group_count
        return stored + self._more[str(resource_type.name)]

    def _document(
        self, row: Row, *, is_written: bool, is_new: bool = False, only: Collection[UUID] | None = None
    ) -> Document:
        more: dict[str, Any] = {}
        if isinstance(row, DirectoryGroup):
            more["members"] = membership.members_of([row.pk], only=only, is_written=is_written)[row.pk]
        elif not is_new:
            more["groups"] = membership.groups_of([row.pk])[row.pk]
        return ADAPTERS[_kind(row)](row).document({name: value for name, value in more.items() if value})

    def _documents(self, rows: list[Any], *, with_rows: bool) -> list[Document]:
        users = [row.pk for row in rows if isinstance(row, DirectoryUser)]
        groups = [row.pk for row in rows if isinstance(row, DirectoryGroup)]
        groups_of = membership.groups_of(users) if users and with_rows else {}
        members_of = membership.members_of(groups) if groups and with_rows else {}
        documents = []
        for row in rows:
            found = (groups_of if isinstance(row, DirectoryUser) else members_of).get(row.pk)
            name = "groups" if isinstance(row, DirectoryUser) else "members"
            documents.append(ADAPTERS[_kind(row)](row).document({name: found} if found else {}))
        return documents


def wants(parameters: ResponseParameters[Any], resource_type: ResourceType) -> bool:
    """Whether an answer with these parameters has a user's groups or a group's members: reading them costs most."""
    name = "groups" if resource_type.name == USER_TYPE.name else "members"
    asked = [str(one).casefold().rpartition(":")[2] for one in parameters.attributes or ()]
    left_out = [str(one).casefold().rpartition(":")[2] for one in parameters.excluded_attributes or ()]
    if asked:
        return any(one.partition(".")[0] == name for one in asked)
    return name not in left_out


def _kind(row: Row) -> str:
    return "User" if isinstance(row, DirectoryUser) else "Group"


def _model_of(document: Document) -> Resource[Any]:
    resource: Resource[Any] = ADAPTERS[document["meta"]["resourceType"]].model.model_validate(document)
    return resource


def _not_found(resource_type: ResourceType, resource_id: str | None) -> NotFoundException:
    return NotFoundException(detail=f"{resource_type.name} {resource_id} is not there.")
