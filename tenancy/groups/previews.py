"""Shows what an edit of the mapping would do, with a fingerprint of exactly that."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

import orjson

from tenancy.errors import Forbidden, Invalid, LimitReached, NotFound
from tenancy.groups.models import LONGEST_GROUP
from tenancy.groups.plans import Plan, mapping, plan
from tenancy.groups.rule import Place
from tenancy.models import Project
from tenancy.roles import PROJECT_ROLES, Role, may_grant

MOST_EDITS = 100  # at once
MOST_MAPPED = 1_000  # groups, those of projects included


@dataclass(frozen=True, slots=True)
class Edit:
    """A group is to give this role from now on, in the organization or in a project; none: it gives none any more."""

    group: str
    role: Role | None
    project_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """An edit that changes something, with what was before."""

    group: str
    project: Project | None
    before: Role | None
    after: Role | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What the edits do to the mapping and to people, were they made now."""

    steps: tuple[Step, ...]
    plan: Plan

    @property
    def fingerprint(self) -> str:
        """The same for the same preview alone: who confirms it has seen what is done."""
        shown = [
            [(one.group, one.project and one.project.pk, one.before, one.after) for one in self.steps],
            [
                (
                    one.person.user_id,
                    (one.person.role, one.role),
                    [(move.project_id, move.before, move.after) for move in one.moves],
                    sorted(map(str, one.keys)),
                )
                for one in self.plan.changes
            ],
            self.plan.kept and self.plan.kept.user_id,
        ]
        return sha256(orjson.dumps(shown)).hexdigest()


def preview(*, actor_role: Role, edits: Sequence[Edit]) -> Preview:
    """What these edits would do. Raises Invalid, NotFound (a project), LimitReached, or Forbidden.

    Nobody makes a group give a role, or stop giving one, that they could not give to people.
    """
    if not 0 < len(edits) <= MOST_EDITS:
        raise Invalid("changes", f"Change 1 to {MOST_EDITS} groups at once.")
    roles = mapping()
    projects = _projects(edits)
    steps = []
    seen: set[Place] = set()
    for edit in edits:
        _check(edit)
        place = (edit.group, edit.project_id)
        if place in seen:
            raise Invalid("group", f"{edit.group} is there twice.")
        seen.add(place)
        before = roles.pop(place, None)
        if edit.role is not None:
            roles[place] = edit.role
        if before != edit.role:
            for role in (before, edit.role):
                if role is not None and not may_grant(actor_role, role):
                    raise Forbidden("Only an owner can map a group to the owner's role, or end that.")
            steps.append(Step(edit.group, projects[edit.project_id] if edit.project_id else None, before, edit.role))
    if not steps:
        raise Invalid("changes", "The mapping is so already.")
    if len(roles) > MOST_MAPPED:
        raise LimitReached(f"At most {MOST_MAPPED} groups are mapped: remove some first.")
    return Preview(tuple(steps), plan(roles))


def _projects(edits: Sequence[Edit]) -> dict[UUID, Project]:
    """The projects that are named. One that is archived may only be ended to give roles in."""
    projects = Project.objects.in_bulk({edit.project_id for edit in edits if edit.project_id})
    for edit in edits:
        if edit.project_id is not None:
            project = projects.get(edit.project_id)
            if project is None or (project.archived_at is not None and edit.role is not None):
                raise NotFound("There is no such project.")
    return projects


def _check(edit: Edit) -> None:
    if not edit.group.strip() or len(edit.group) > LONGEST_GROUP or "\x00" in edit.group:
        raise Invalid("group", f"A group's name has 1 to {LONGEST_GROUP} characters.")
    if edit.project_id is not None and edit.role not in (None, *PROJECT_ROLES):
        raise Invalid("role", f"Choose a role in the project: {', '.join(PROJECT_ROLES)}.")
