"""Keeps who is in which group of a directory: users, and groups in groups. A change costs what it changes."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F, Q
from django.utils import timezone
from scim2_models import GroupMember, InvalidValueException, PatchOp, Path
from scim2_models.path import CompareOperator, Comparison, FilterNode, LogicalExpr, LogicalOperator

from tenancy.scim.adapters import check_text
from tenancy.scim.models import Directory, DirectoryGroup, DirectoryGroupMember, DirectoryUser
from tenancy.scim.tables import as_id

LONGEST_DISPLAY = 320
_WITHIN = """
    WITH RECURSIVE within(group_id) AS (
        SELECT unnest(%s::uuid[])
        UNION SELECT m.subgroup_id FROM within w JOIN scim_directorygroupmember m ON m.group_id = w.group_id
        WHERE m.subgroup_id IS NOT NULL
    )
    SELECT DISTINCT m.user_id FROM within w JOIN scim_directorygroupmember m ON m.group_id = w.group_id
    WHERE m.user_id IS NOT NULL
"""


@dataclass(slots=True)
class Change:
    """Who came into a group or left it."""

    users: set[UUID]
    groups: set[UUID]

    def __bool__(self) -> bool:
        return bool(self.users or self.groups)


def members_of(
    group_ids: Collection[UUID], *, only: Collection[UUID] | None = None, is_written: bool = False
) -> dict[UUID, list[dict[str, Any]]]:
    """The members of groups, as JSON; with `only`, those of them alone.

    In what is going to be written they have no names but those that the client gave them.
    """
    rows = DirectoryGroupMember.objects.filter(group_id__in=group_ids)
    if only is not None:
        rows = rows.filter(Q(user_id__in=only) | Q(subgroup_id__in=only))
    found: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    columns = ("group_id", "user_id", "subgroup_id", "display", "subgroup__display_name")
    names = rows.order_by("id").values_list(*columns, "user__user_name", "user__data__displayName")
    for group_id, user_id, subgroup_id, display, group_name, user_name, shown in names:
        is_user = user_id is not None
        entry = {
            "value": str(user_id if is_user else subgroup_id),
            "$ref": f"Users/{user_id}" if is_user else f"Groups/{subgroup_id}",
            "type": "User" if is_user else "Group",
        }
        ours = None if is_written else (shown or user_name if is_user else group_name)
        if display or ours:
            entry["display"] = str(display or ours)
        found[group_id].append(entry)
    return found


def groups_of(user_ids: Collection[UUID]) -> dict[UUID, list[dict[str, Any]]]:
    """The groups that users are directly in, as JSON."""
    found: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    rows = DirectoryGroupMember.objects.filter(user_id__in=user_ids).order_by("id")
    for user_id, group_id, name in rows.values_list("user_id", "group_id", "group__display_name"):
        entry = {"value": str(group_id), "$ref": f"Groups/{group_id}", "display": name, "type": "direct"}
        found[user_id].append(entry)
    return found


def replace(
    directory: Directory, group: DirectoryGroup, wanted: Iterable[GroupMember], known: Collection[UUID] | None = None
) -> Change:
    """Make the group's members those wanted; with `known`, only these come or go. Raises InvalidValueException."""
    wished = _wished(wanted)
    rows = DirectoryGroupMember.objects.filter(group=group)
    if known is not None:
        rows = rows.filter(Q(user_id__in=known) | Q(subgroup_id__in=known))
    present = {one.user_id or one.subgroup_id: one for one in rows}
    gone = [one for key, one in present.items() if key not in wished]
    new = [key for key in wished if key not in present]
    renamed = []
    for key, one in present.items():
        if key in wished and one.display != wished[key]:
            one.display = wished[key]
            renamed.append(one)
    users, groups = _look_up(directory, group, new)
    if gone:
        DirectoryGroupMember.objects.filter(pk__in=[one.pk for one in gone]).delete()
    if new:
        made = [
            DirectoryGroupMember(
                group=group,
                user_id=key if key in users else None,
                subgroup_id=key if key in groups else None,
                display=wished[key],
            )
            for key in new
        ]
        DirectoryGroupMember.objects.bulk_create(made, batch_size=1_000)
    if renamed:
        DirectoryGroupMember.objects.bulk_update(renamed, ["display"], batch_size=1_000)
    users |= {one.user_id for one in gone if one.user_id}
    return Change(users, groups | {one.subgroup_id for one in gone if one.subgroup_id})


def _wished(wanted: Iterable[GroupMember]) -> dict[UUID, str]:
    """What each member is to be called, by their ids."""
    wished: dict[UUID, str] = {}
    for one in wanted:
        key = as_id(one.value)
        if key is None:
            raise _unknown(one.value)
        check_text("members.display", one.display or "", LONGEST_DISPLAY)
        wished[key] = one.display or ""
    return wished


def _look_up(directory: Directory, group: DirectoryGroup, ids: list[UUID]) -> tuple[set[UUID], set[UUID]]:
    """Which of the ids are users and which are groups. Raises InvalidValueException where one is neither."""
    if not ids:
        return set(), set()
    users = set(DirectoryUser.objects.filter(directory=directory, pk__in=ids).values_list("pk", flat=True))
    rest = [one for one in ids if one not in users]
    groups = set()
    if rest:
        groups = set(DirectoryGroup.objects.filter(directory=directory, pk__in=rest).values_list("pk", flat=True))
    for one in rest:
        if one not in groups:
            raise _unknown(str(one))
        if one == group.pk:
            raise InvalidValueException(detail="A group cannot be a member of itself.")
    return users, groups


def _unknown(value: str | None) -> InvalidValueException:
    return InvalidValueException(detail=f"There is no user or group with the id {value}: create it first.")


def people(user_ids: Collection[UUID], group_ids: Collection[UUID], directory: Directory) -> list[DirectoryUser]:
    """These users, and those in these groups or in groups within them, that are somebody here."""
    ids = set(user_ids)
    if group_ids:
        with connection.cursor() as cursor:
            cursor.execute(_WITHIN, [list(group_ids)])
            ids |= {user_id for (user_id,) in cursor.fetchall()}
    if not ids:
        return []
    rows = DirectoryUser.objects.filter(pk__in=ids, user__isnull=False, is_active=True).select_related("user")
    found = list(rows)
    for one in found:
        one.directory = directory
    return found


def revise(user_ids: Collection[UUID] = (), group_ids: Collection[UUID] = ()) -> None:
    """The groups that these are in have changed: their ETags do."""
    of = Q(pk__in=DirectoryGroupMember.objects.filter(user_id__in=user_ids).values("group_id")) if user_ids else Q()
    if group_ids:
        of |= Q(pk__in=DirectoryGroupMember.objects.filter(subgroup_id__in=group_ids).values("group_id"))
    if of:
        DirectoryGroup.objects.filter(of).update(revision=F("revision") + 1, changed_at=timezone.now())


def named_in(patch: "PatchOp[Any]") -> set[UUID] | None:
    """The only members that a PATCH can add or remove; None where it may mean any of them."""
    named: set[UUID] = set()
    for operation in patch.operations or ():
        if operation.path is None:
            values = operation.value if isinstance(operation.value, dict) else {}
            parts = [(key, value) for key, value in values.items() if "members" in key.casefold()]
        else:
            parts = [(str(operation.path), operation.value)] if "members" in str(operation.path).casefold() else []
        for path, value in parts:
            found = _named(str(operation.op.value), path, value)
            if found is None:
                return None
            named |= found
    return named


def _named(op: str, text: str, value: Any) -> set[UUID] | None:
    path = Path(text)
    if path.value_filter is not None:
        return _compared(path.value_filter) if op == "remove" else None
    if text.casefold().rpartition(":")[2] != "members" or op == "replace" or value is None:
        return None
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) and isinstance(one.get("value"), str) for one in entries):
        return None
    # what is no id is refused, or removes nothing
    return {found for one in entries if (found := as_id(one["value"])) is not None}


def _compared(node: FilterNode) -> set[UUID] | None:
    """The ids of a filter that says `value eq "…"`, once or several times with `or`."""
    if isinstance(node, LogicalExpr) and node.op == LogicalOperator.or_:
        found: set[UUID] = set()
        for term in node.terms:
            ids = _compared(term)
            if ids is None:
                return None
            found |= ids
        return found
    if isinstance(node, Comparison) and node.op == CompareOperator.eq and node.attr_path.attr.casefold() == "value":
        wanted = as_id(node.value if isinstance(node.value, str) else None)
        return set() if wanted is None else {wanted}
    return None
