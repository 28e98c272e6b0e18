"""Gives members of the organization in scope roles in single projects, and takes them, by hand or for their groups."""

from collections.abc import Mapping
from uuid import UUID

from tenancy.audit import actions
from tenancy.audit.services import Actor, record
from tenancy.errors import Forbidden, Invalid, NotFound
from tenancy.models import Membership, Project, ProjectRole
from tenancy.roles import PROJECT_ROLES, Role, may_grant
from tenancy.services import keys, members, organizations, projects


def give(*, actor: Actor, actor_role: Role, user_id: UUID, project_id: UUID, role: str) -> ProjectRole:
    """Give a member a role in a project, by hand: groups of a directory do not change it any more.

    It adds to what their role in the organization lets them do. Raises NotFound, Invalid or Forbidden.
    """
    if role not in PROJECT_ROLES:
        raise Invalid("role", f"Choose a role in the project: {', '.join(PROJECT_ROLES)}.")
    _check_rank(actor_role, Role(role))
    membership, project = _locked(user_id), projects.find(project_id)
    held = ProjectRole.objects.filter(membership=membership, project=project).first()
    before = held.role if held else None
    if held is None:
        held = ProjectRole(membership=membership, project=project)
    held.role, held.is_managed = role, False
    held.save()
    if before != role:
        _record(actor, membership, project, before, role)
    return held


def take(*, actor: Actor, actor_role: Role, user_id: UUID, project_id: UUID) -> int:
    """Take a member's role in a project; keys that outrank what is left end, and it is said how many.

    Raises NotFound or Forbidden.
    """
    membership = _locked(user_id)
    held = ProjectRole.objects.select_related("project").filter(membership=membership, project_id=project_id).first()
    if held is None:
        raise NotFound("They have no role in this project.")
    _check_rank(actor_role, Role(held.role))
    held.delete()
    return _record(actor, membership, held.project, held.role, None)


def set_managed(*, actor: Actor, user_id: UUID, roles: Mapping[UUID, Role]) -> bool:
    """Give a member the roles by project that their groups give, and no others of that kind; whether any changed.

    What somebody gave by hand stays; projects that are no more are passed over. Raises NotFound for who is no member.
    """
    membership = _locked(user_id)
    held = {row.project_id: row for row in ProjectRole.objects.select_related("project").filter(membership=membership)}
    wanted = {
        project_id: role for project_id, role in roles.items() if project_id not in held or held[project_id].is_managed
    }
    known = Project.objects.in_bulk([one for one in wanted if one not in held])
    has_changed = False
    for project_id, row in held.items():
        role = wanted.get(project_id)
        if not row.is_managed or row.role == role:
            continue
        before, has_changed = row.role, True
        if role is None:
            row.delete()
        else:
            row.role = role
            row.save(update_fields=["role"])
        _record(actor, membership, row.project, before, role)
    for project_id, project in known.items():
        if project.archived_at is None:
            has_changed = True
            ProjectRole.objects.create(membership=membership, project=project, role=wanted[project_id], is_managed=True)
            _record(actor, membership, project, None, wanted[project_id])
    return has_changed


def _check_rank(actor_role: Role, role: Role) -> None:
    if not may_grant(actor_role, role):
        raise Forbidden("Only owners and admins give and take roles in projects.")


def _locked(user_id: UUID) -> Membership:
    organizations.locked()  # orders this with changes of the member's other role, and with keys that are made
    membership = Membership.objects.select_related("user").filter(user_id=user_id).first()
    if membership is None:
        raise NotFound("There is no such member.")
    return membership


def _record(actor: Actor, membership: Membership, project: Project, before: str | None, after: str | None) -> int:
    ended = keys.end_outranked(membership.user_id)
    action = actions.MEMBER_PROJECT_ROLE_CHANGED
    record(
        action=action,
        actor=actor,
        target=members.target(membership.user),
        metadata={"project": project.slug, "keys_revoked": ended},
        changes=action.changed({"role": before} if before else {}, {"role": after} if after else {}),
    )
    return ended
