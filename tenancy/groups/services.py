"""Keeps which groups people are in, and gives people of the organization in scope the roles that these map to."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, LimitReached
from tenancy.groups.models import LONGEST_GROUP, GroupRole, PersonGroups
from tenancy.groups.plans import Change, Plan, mapping, plan, told
from tenancy.groups.previews import Edit, Preview, Step, preview
from tenancy.models import Membership, User
from tenancy.roles import Role
from tenancy.services import members, organizations, project_roles

MOST_GROUPS = 1_000  # of a person, kept of one source
MOST_CHANGED, MOST_MOVED = 5_000, 1_000  # people in one transaction, and those of them whose roles in projects change


class Changed(Conflict):
    """What was confirmed is no longer what would happen; `preview` says what is."""

    def __init__(self, preview: Preview) -> None:
        super().__init__("Something has changed since you looked: see what would happen now, and confirm that.")
        self.preview = preview


def change(*, actor: Actor, actor_role: Role, edits: Sequence[Edit], fingerprint: str) -> Preview:
    """Change which groups give which roles, and give everybody whom that concerns the roles of their groups at once.

    Raises Changed unless `fingerprint` is that of what happens; LimitReached, and whatever `preview` raises.
    """
    organizations.locked()  # nobody's role, key or groups' roles change between the look and the deed
    shown = preview(actor_role=actor_role, edits=edits)
    if shown.fingerprint != fingerprint:
        raise Changed(shown)
    if too_many := why_not(shown.plan):
        raise LimitReached(too_many)
    for step in shown.steps:
        _write(actor, step, len(shown.plan.changes))
    _carry_out(actor, shown.plan)
    return shown


def why_not(found: Plan) -> str:
    """Why a mapping cannot be changed like that at once; nothing where it can."""
    if len(found.changes) > MOST_CHANGED:
        return f"At most {MOST_CHANGED:,} people change at once: map fewer groups, one after the other."
    if sum(bool(one.moves) for one in found.changes) > MOST_MOVED:
        return f"At most {MOST_MOVED:,} people change roles in projects at once: map fewer groups, one after the other."
    return ""


def remember(*, user: User, source_id: UUID, source_name: str, groups: list[str], default_role: Role) -> None:
    """Keep in which groups a source says that a person is, in place of what it said before; changes no role.

    `default_role` is the source's, for whom no group gives one. A source that has never named a group says nothing
    by naming none: nobody is managed by it until it does. Of more than MOST_GROUPS, and of names longer than
    LONGEST_GROUP, the rest is left out, which `note` says.
    """
    fitting = list(dict.fromkeys(one for one in groups if 0 < len(one) <= LONGEST_GROUP and "\x00" not in one))
    kept = fitting[:MOST_GROUPS]
    if not kept and not PersonGroups.objects.filter(source_id=source_id).exists():
        return
    left_out = len(set(groups)) - len(kept)
    note = f"{left_out} of {len(set(groups))} groups are not kept: they are too many, or too long." if left_out else ""
    said = {
        "source_name": source_name[:120],
        "groups": kept,
        "default_role": default_role,
        "note": note,
        "seen_at": timezone.now(),
    }
    row = PersonGroups(user=user, source_id=source_id, **said)
    PersonGroups.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["organization", "user", "source_id"], update_fields=list(said)
    )


def apply(*, actor: Actor, user: User) -> Role | None:
    """Give a member the roles that their groups map to, in the organization and in its projects; the role they have.

    None where groups do not decide: nothing is mapped, no source has said anything of them, or they are no member. The
    last owner stays one, which is told. Call it after `remember` and after they have joined, in the same transaction.
    """
    if not apply_all(actor=actor, users=[user]):
        return None
    return Role(Membership.objects.get(user=user).role)


def apply_all(*, actor: Actor, users: Collection[User]) -> int:
    """The same for several people, which asks the database no more often than for one, but for what changes.

    It returns how many of them groups decide about.
    """
    organizations.locked()  # orders this with changes of the mapping: either sees what the other has done
    roles = mapping()
    if not roles:
        return 0
    found = plan(roles, user_ids=[user.pk for user in users])
    _carry_out(actor, found)
    return found.managed


def forget(*, source_id: UUID, user: User | None = None) -> None:
    """Drop what a source said, of one person or of everybody: it is gone, or they are gone from it.

    Roles stay as they are until `apply` is called, or the person comes by another source.
    """
    rows = PersonGroups.objects.filter(source_id=source_id)
    (rows if user is None else rows.filter(user=user)).delete()


def forget_leavers(*, before: datetime) -> int:
    """Drop what was said, before then, of people who are members no more, or again; how much that was."""
    gone = PersonGroups.objects.filter(seen_at__lt=before).exclude(pk__in=told().values("pk"))
    return gone.delete()[0]


def _write(actor: Actor, step: Step, people: int) -> None:
    rows = GroupRole.objects.filter(group=step.group, project=step.project)
    if step.after is None:
        rows.delete()
    elif not rows.update(role=step.after):
        GroupRole.objects.create(group=step.group, project=step.project, role=step.after)
    action = actions.GROUP_ROLE_CHANGED
    record(
        action=action,
        actor=actor,
        target=Target("group", step.group, step.group),
        metadata={"people": people} | ({"project": step.project.slug} if step.project else {}),
        changes=action.changed({"role": step.before}, {"role": step.after}),
    )


def _carry_out(actor: Actor, found: Plan) -> None:
    """What people get comes before what they lose: else keys would end that are within what they have in the end."""
    _give_in_projects(actor, [one for one in found.changes if not one.is_rise])
    moved = {one.person.user_id: one for one in found.changes if one.role != one.person.role}
    members.change_roles(
        actor=actor,
        roles={user_id: one.role for user_id, one in moved.items()},
        reasons={user_id: one.because for user_id, one in moved.items()},
    )
    _give_in_projects(actor, [one for one in found.changes if one.is_rise])
    if found.kept is not None:
        target = Target("user", str(found.kept.user_id), found.kept.email)
        record(action=actions.OWNER_KEPT, actor=actor, target=target)


def _give_in_projects(actor: Actor, changes: Iterable[Change]) -> None:
    for one in changes:
        if one.moves:
            project_roles.set_managed(actor=actor, user_id=one.person.user_id, roles=one.projects)
