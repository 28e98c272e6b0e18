"""Works out what a mapping of groups to roles does to the people of the organization in scope; it changes nothing."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from allauth.mfa.models import Authenticator
from django.contrib.postgres.fields import ArrayField
from django.db.models import Exists, F, Func, OuterRef, QuerySet, TextField, Value

from tenancy.groups.models import GroupRole, PersonGroups
from tenancy.groups.rule import HIGHEST_FIRST, Place, Roles, Said, because, projects_of, role_of
from tenancy.models import ApiKey, Membership, Organization, Project, ProjectRole
from tenancy.roles import Role, rights_in, scopes_within


@dataclass(frozen=True, slots=True)
class Person:
    """A member of whose groups some source has said something, and the roles that they have."""

    user_id: UUID
    email: str
    name: str
    is_active: bool
    role: Role
    said: tuple[Said, ...]
    by_groups: Mapping[UUID, Role]  # in single projects
    by_hand: Mapping[UUID, Role]


@dataclass(frozen=True, slots=True)
class Move:
    """A role in one project that is given, changed or taken."""

    project_id: UUID
    project: str
    before: Role | None
    after: Role | None


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one person."""

    person: Person
    role: Role
    projects: Mapping[UUID, Role]  # every role in a project that their groups give
    moves: tuple[Move, ...]
    keys: frozenset[UUID]  # that end, with those below them
    because: str

    @property
    def is_rise(self) -> bool:
        """Whether they have more to say in the organization than before."""
        return HIGHEST_FIRST.index(self.role) < HIGHEST_FIRST.index(self.person.role)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a mapping does to everybody, or to some."""

    managed: int  # how many people it decides about
    changes: tuple[Change, ...]
    kept: Person | None  # who stays an owner against their groups, for there would be none

    @property
    def keys(self) -> int:
        """How many keys end."""
        return len(frozenset[UUID]().union(*(one.keys for one in self.changes)))

    @property
    def totals(self) -> list[tuple[Role, Role, int]]:
        """How many people go from which role to which, the highest that is left first."""
        counts = Counter((one.person.role, one.role) for one in self.changes if one.person.role != one.role)
        order = HIGHEST_FIRST.index
        return [(*pair, counts[pair]) for pair in sorted(counts, key=lambda pair: (order(pair[0]), order(pair[1])))]


def mapping() -> dict[Place, Role]:
    """Which groups give which roles now."""
    rows = GroupRole.objects.values_list("group", "project_id", "role")
    return {(group, project_id): Role(role) for group, project_id, role in rows}


def plan(roles: Roles, *, user_ids: Collection[UUID] | None = None) -> Plan:
    """What these roles of groups would do to everybody, or to some. It asks as much of many people as of few."""
    everybody = people({group for group, _ in roles}, user_ids=user_ids)
    wanted = {one.user_id: role_of(one.role, one.said, roles) for one in everybody}
    kept = _kept(everybody, wanted)
    if kept is not None:
        wanted[kept.user_id] = Role.OWNER
    given = {one.user_id: projects_of(one.said, roles) for one in everybody}
    projects = Project.objects.in_bulk({place for one in everybody for place in (*given[one.user_id], *one.by_groups)})
    found = []
    for one in everybody:
        moves = tuple(_moves(one, given[one.user_id], projects))
        if moves or wanted[one.user_id] != one.role:
            why = because(one.role, one.said, roles)
            found.append(Change(one, wanted[one.user_id], given[one.user_id], moves, frozenset(), why))
    return Plan(len(everybody), tuple(_with_keys(found)), kept)


def told() -> QuerySet[PersonGroups]:
    """What sources have said of members since they are members: who left and came back starts anew."""
    member = Membership.objects.filter(user=OuterRef("user"), created_at__lte=OuterRef("seen_at"))
    return PersonGroups.objects.filter(Exists(member))


def people(groups: Iterable[str], *, user_ids: Collection[UUID] | None = None) -> list[Person]:
    """The members whom groups decide about, with those of their groups that are among `groups`; the oldest first."""
    rows = told()
    members = Membership.objects.filter(user_id__in=rows.values("user_id"))
    if user_ids is not None:
        rows, members = rows.filter(user_id__in=user_ids), members.filter(user_id__in=user_ids)
    said: dict[UUID, list[Said]] = defaultdict(list)
    for row in rows.annotate(mine=_among(groups)).defer("groups").order_by("id"):
        mine = tuple(sorted(row.mine))
        said[row.user_id].append(Said(row.source_name, mine, Role(row.default_role), source_id=row.source_id))
    held: dict[tuple[UUID, bool], dict[UUID, Role]] = defaultdict(dict)
    for one in ProjectRole.objects.filter(membership__in=members).select_related("membership"):
        held[one.membership.user_id, one.is_managed][one.project_id] = Role(one.role)
    return [
        Person(
            user_id=member.user_id,
            email=member.user.email,
            name=member.user.get_full_name(),
            is_active=member.user.is_active,
            role=Role(member.role),
            said=tuple(said[member.user_id]),
            by_groups=held[member.user_id, True],
            by_hand=held[member.user_id, False],
        )
        for member in members.select_related("user").order_by("created_at", "id")
    ]


def _among(groups: Iterable[str]) -> Func:
    """Of the groups of a row, those that are given: of a thousand that somebody is in, few give a role."""
    texts: Any = ArrayField(TextField())
    return Func(
        F("groups"),
        Value(sorted(groups), output_field=texts),
        template="ARRAY(SELECT unnest(%(expressions)s::text[]))",
        arg_joiner="::text[]) INTERSECT SELECT unnest(",
        output_field=texts,
    )


def _kept(everybody: Sequence[Person], wanted: Mapping[UUID, Role]) -> Person | None:
    """Who stays an owner though their groups say otherwise: the oldest, where nobody else would be left.

    Where single sign-on is required that is an owner with a second factor: the way in when the provider fails.
    """
    leaving = [one for one in everybody if one.role == Role.OWNER != wanted[one.user_id] and one.is_active]
    if not leaving:
        return None
    rising = [one.user_id for one in everybody if one.is_active and wanted[one.user_id] == Role.OWNER]
    owners = Membership.objects.filter(role=Role.OWNER, user__is_active=True).values_list("user_id", flat=True)
    staying = {*owners, *rising} - {one.user_id for one in leaving}
    if not Organization.objects.get().is_sso_required:
        return None if staying else leaving[0]
    asked = [*staying, *(one.user_id for one in leaving)]
    safe = set(Authenticator.objects.filter(user_id__in=asked).values_list("user_id", flat=True))
    if staying & safe:
        return None
    return next((one for one in leaving if one.user_id in safe), None if staying else leaving[0])


def _moves(person: Person, given: dict[UUID, Role], projects: Mapping[UUID, Project]) -> Iterable[Move]:
    """As `project_roles.set_managed` would make them."""
    for project_id in sorted({*given, *person.by_groups}):
        before, after = person.by_groups.get(project_id), given.get(project_id)
        is_new_and_archived = before is None and projects[project_id].archived_at is not None
        if before != after and project_id not in person.by_hand and not is_new_and_archived:
            yield Move(project_id, projects[project_id].name, before, after)


def _with_keys(changes: Sequence[Change]) -> Iterable[Change]:
    """Each change with the keys that end by it: those that outrank what is left, and those below them."""
    if not changes:
        return
    children: dict[UUID | None, list[UUID]] = defaultdict(list)
    held: dict[UUID | None, list[ApiKey]] = defaultdict(list)
    for key in ApiKey.objects.filter(revoked_at=None).only("id", "parent_id", "created_by_id", "project_id", "scopes"):
        children[key.parent_id].append(key.pk)
        held[key.created_by_id].append(key)
    for one in changes:
        after = {**one.person.by_groups, **one.person.by_hand}
        for move in one.moves:
            after[move.project_id] = move.after  # type: ignore[assignment]  # none: no role
        ended: set[UUID] = set()
        waiting = [
            key.pk
            for key in held[one.person.user_id]
            if not scopes_within(rights_in(one.role, after.get(key.project_id)), key.scopes)
        ]
        while waiting:
            key_id = waiting.pop()
            ended.add(key_id)
            waiting += [child for child in children[key_id] if child not in ended]
        yield replace(one, keys=frozenset(ended))
