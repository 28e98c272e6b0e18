"""Says which roles somebody has by their groups: one rule for a sign-in, a preview and what is applied."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from tenancy.roles import Role

HIGHEST_FIRST = (Role.OWNER, Role.ADMIN, Role.MEMBER, Role.BILLING, Role.VIEWER)
Place = tuple[str, UUID | None]  # a group, and in which project its role holds; none: in the organization
Roles = Mapping[Place, Role]  # which groups give which roles, and where


@dataclass(frozen=True, slots=True)
class Said:
    """What one source says of a person: of their groups, those that give a role somewhere are enough."""

    source_name: str
    groups: tuple[str, ...]
    default_role: Role
    source_id: UUID | None = None


def highest(roles: Iterable[Role]) -> Role | None:
    """The highest of some roles; None of none."""
    return min(roles, key=HIGHEST_FIRST.index, default=None)


def role_of(now: Role, said: Sequence[Said], roles: Roles) -> Role:
    """The role in the organization of somebody who has `now`.

    The highest that any of their groups gives. Where none does, the highest default role of their sources; that one
    makes no owners. Owners stay owners for as long as no group makes any.
    """
    given = {group: role for (group, project_id), role in roles.items() if project_id is None}
    if not given or not said or (now == Role.OWNER and Role.OWNER not in given.values()):
        return now
    matched = highest(given[group] for one in said for group in one.groups if group in given)
    return matched or highest(one.default_role for one in said if one.default_role != Role.OWNER) or now


def because(now: Role, said: Sequence[Said], roles: Roles) -> str:
    """Why `role_of` says what it says, in a sentence."""
    given = {group: role for (group, project_id), role in roles.items() if project_id is None}
    if not given:
        return "No group gives a role in the organization."
    if not said:
        return "No identity provider or directory has named a group yet."
    role = role_of(now, said, roles)
    found = [(group, one.source_name) for one in said for group in one.groups if given.get(group) == role]
    if found:
        return f"In {found[0][0]}, says {found[0][1]}."
    if now == role == Role.OWNER:
        return "Owners stay owners for as long as no group makes any."
    return f"In no group that gives a role, says {' and '.join(sorted({one.source_name for one in said}))}."


def projects_of(said: Sequence[Said], roles: Roles) -> dict[UUID, Role]:
    """The roles in single projects that somebody's groups give: of each project, the highest."""
    mine = {group for one in said for group in one.groups}
    found: dict[UUID, Role] = {}
    for (group, project_id), role in roles.items():
        if project_id is not None and group in mine:
            found[project_id] = highest([role, found.get(project_id, role)]) or role
    return found
