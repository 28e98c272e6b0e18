"""Reads which groups give roles, which others there are, and whom sources speak of, in the organization in scope."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import CharField, Count, F, Func, Max, Q

from tenancy.groups.models import GroupRole
from tenancy.groups.plans import Person, mapping, plan, told
from tenancy.models import Membership
from tenancy.roles import Role

MOST_SHOWN = 200  # groups that give no role


@dataclass(frozen=True, slots=True)
class Mapped:
    """A group that gives a role, and how many members are in it."""

    row: GroupRole
    people: int


@dataclass(frozen=True, slots=True)
class Source:
    """An identity provider or a directory that names groups."""

    name: str
    people: int
    cut: int  # of how many of them not all groups are kept: they are too many, or too long
    seen_at: datetime


def group_roles() -> list[GroupRole]:
    """Every group that gives a role, with its project: by name, those in the organization first."""
    rows = GroupRole.objects.select_related("project").order_by("group", F("project").asc(nulls_first=True))
    return list(rows)


def mapped() -> list[Mapped]:
    """The same, with how many members are in each."""
    rows = group_roles()
    counts = dict(_counted().filter(groups__overlap=[row.group for row in rows]).values_list("one", "people"))
    return [Mapped(row, counts.get(row.group, 0)) for row in rows]


def others() -> list[tuple[str, int]]:
    """The groups that sources name and that give no role, with how many members are in each: the largest first."""
    given = set(GroupRole.objects.values_list("group", flat=True))
    rows = _counted().order_by("-people", "one").values_list("one", "people")[: MOST_SHOWN + len(given)]
    return [(group, people) for group, people in rows if group not in given][:MOST_SHOWN]


def sources() -> list[Source]:
    """Who names groups, and of how many people."""
    rows = (
        told()
        .values("source_id")
        .annotate(name=Max("source_name"), people=Count("id"), cut=Count("id", filter=~Q(note="")), last=Max("seen_at"))
    )
    return [Source(row["name"], row["people"], row["cut"], row["last"]) for row in rows.order_by("name")]


def kept_owner() -> Person | None:
    """Who is an owner against their groups, because nobody else could be one."""
    owners = Membership.objects.filter(role=Role.OWNER).values_list("user_id", flat=True)
    return plan(mapping(), user_ids=list(owners)).kept


def managed(user_ids: Iterable[Any]) -> set[Any]:
    """Of these people those whose role in the organization their groups decide."""
    if not GroupRole.objects.filter(project=None).exists():
        return set()
    return set(told().filter(user_id__in=user_ids).values_list("user_id", flat=True))


def _counted() -> Any:
    one = Func(F("groups"), function="unnest", output_field=CharField())
    return told().annotate(one=one).values("one").annotate(people=Count("user_id", distinct=True))
