"""Says where users and groups of a directory keep what filters, sorting and indexes ask for."""

# ruff: noqa: S608  # names of tables and columns are ours; whatever a client sends is bound

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from scim2_models import Path, ResourceType
from scim2_models.path import AttributeBinding

from tenancy.scim.candidates import Indexes
from tenancy.scim.filters import NULL, Sql, Table, Values
from tenancy.scim.models import DirectoryGroup, DirectoryUser
from tenancy.scim.resources import GROUP_TYPE, USER_TYPE, GroupModel, UserModel

NOBODY = Sql("SELECT NULL::uuid WHERE FALSE")
USERS, GROUPS, MEMBERS = "scim_directoryuser", "scim_directorygroup", "scim_directorygroupmember"
SHOWN = "normalize(lower({}), NFC)"  # a name of another row, as `names.name_key` makes it
MEMBER_NAME = f"""COALESCE(
    NULLIF(m.display, ''),
    (SELECT COALESCE(u.data ->> 'displayName', u.user_name) FROM {USERS} u WHERE u.id = m.user_id),
    (SELECT s.display_name FROM {GROUPS} s WHERE s.id = m.subgroup_id)
)"""


class Owner(Protocol):
    """Whoever says which directory it is, and of which organization."""

    @property
    def organization_id(self) -> UUID: ...
    @property
    def directory_id(self) -> UUID: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where the resources of one type are, of one directory."""

    resource_type: ResourceType
    model: Any  # of scim2_models
    rows: type[DirectoryUser] | type[DirectoryGroup]
    name: str  # the table in PostgreSQL
    table: Table
    indexes: Indexes


def users(of: Owner) -> Place:
    """The users of a directory."""
    mine = f"{MEMBERS} m WHERE m.user_id = {USERS}.id"
    groups = Values(
        source=Sql(f"{MEMBERS} m JOIN {GROUPS} g ON g.id = m.group_id WHERE m.user_id = {USERS}.id"),
        subs={
            "value": _exact("m.group_id::text"),
            "display": _exact(SHOWN.format("g.display_name")),
            "type": _exact("'direct'::text"),
            "ref": _exact("'Groups/' || m.group_id"),
        },
        present=Sql(f"EXISTS (SELECT 1 FROM {mine})"),
        missing=Sql(f"NOT EXISTS (SELECT 1 FROM {mine})"),
        order="m.id",
    )
    columns = {**_shared(USERS, UserModel, "User"), "user_name": Sql(f"{USERS}.name_key")}
    finders = {
        **_finders(USERS, of),
        "user_name": _by(USERS, of, "name_key"),
        "groups.value": _by_id(f"SELECT user_id FROM {MEMBERS} WHERE user_id IS NOT NULL AND group_id = %s"),
    }
    table = Table(_document(USERS, of), columns, {"groups": groups})
    return Place(USER_TYPE, UserModel, DirectoryUser, USERS, table, Indexes(finders, _holding("user", of)))


def groups(of: Owner) -> Place:
    """The groups of a directory."""
    mine = f"{MEMBERS} m WHERE m.group_id = {GROUPS}.id"
    members = Values(
        source=Sql(mine),
        subs={
            "value": _exact("COALESCE(m.user_id, m.subgroup_id)::text"),
            "display": _exact(SHOWN.format(MEMBER_NAME)),
            "type": _exact("CASE WHEN m.user_id IS NULL THEN 'group' ELSE 'user' END"),
            "ref": _exact("COALESCE('Users/' || m.user_id, 'Groups/' || m.subgroup_id)"),
        },
        present=Sql(f"EXISTS (SELECT 1 FROM {mine})"),
        missing=Sql(f"NOT EXISTS (SELECT 1 FROM {mine})"),
        order="m.id",
    )
    columns = {**_shared(GROUPS, GroupModel, "Group"), "display_name": Sql(f"{GROUPS}.name_key")}
    finders = {
        **_finders(GROUPS, of),
        "display_name": _by(GROUPS, of, "name_key"),
        "members.value": _by_id(
            f"SELECT group_id FROM {MEMBERS} WHERE user_id = %s "
            f"UNION ALL SELECT group_id FROM {MEMBERS} WHERE subgroup_id = %s"
        ),
    }
    table = Table(_document(GROUPS, of), columns, {"members": members})
    return Place(GROUP_TYPE, GroupModel, DirectoryGroup, GROUPS, table, Indexes(finders, _holding("group", of)))


def _exact(text: str) -> Sql:
    return Sql(f'(({text}) COLLATE "C")')


def _document(name: str, of: Owner) -> Sql:
    return Sql(f"({name}.search -> %s)", (str(of.directory_id),))


def _shared(name: str, model: Any, kind: str) -> dict[str, Sql]:
    """The attributes that every resource has in columns."""
    binding: AttributeBinding = Path.__class_getitem__(model)("meta.resourceType").resolve()
    return {
        "id": _exact(f"{name}.id::text"),
        "external_id": _exact(f"NULLIF({name}.external_id, '')"),
        "meta.resource_type": Sql("""(%s::text COLLATE "C")""", (binding.comparable(kind),)),
        "meta.created": Sql(f"{name}.created_at"),
        "meta.last_modified": Sql(f"{name}.changed_at"),
        "meta.version": _exact(f"""'W/"' || {name}.revision || '"'"""),
        "meta.location": NULL,  # the service's address is none of a resource's values
        "password": NULL,
    }


def _finders(name: str, of: Owner) -> dict[str, Callable[[str], Sql]]:
    external = Sql(f"SELECT id FROM {name} WHERE directory_id = %s AND external_id = %s AND external_id <> ''")
    return {
        "id": _by_id("SELECT %s::uuid"),
        "external_id": lambda wanted: external._replace(params=(of.directory_id, wanted)),
    }


def _by(name: str, of: Owner, column: str) -> Callable[[str], Sql]:
    text = f"SELECT id FROM {name} WHERE directory_id = %s AND {column} = %s"
    return lambda wanted: Sql(text, (of.directory_id, wanted))


def _by_id(text: str) -> Callable[[str], Sql]:
    """By an id, which is a text to whoever asks: one that is none finds nothing."""

    def find(wanted: str) -> Sql:
        found = as_id(wanted)
        return NOBODY if found is None else Sql(text, (found,) * text.count("%s"))

    return find


def as_id(text: str | None) -> UUID | None:
    """The id that a text is, exactly as we write it."""
    try:
        found = UUID(text or "")
    except ValueError:
        return None
    return found if str(found) == text else None


def _holding(kind: str, of: Owner) -> Callable[[dict[str, Any]], Sql]:
    def find(piece: dict[str, Any]) -> Sql:
        wanted = json.dumps({str(of.directory_id): piece})
        params = (of.organization_id, of.directory_id, [wanted])
        return Sql(f"SELECT id FROM scim_{kind}s_holding(%s, %s, %s::text[])", params)

    return find
