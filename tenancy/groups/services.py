"""Keeps which groups people are in, and gives people of the organization in scope the roles that these map to."""

from uuid import UUID

from django.utils import timezone

from tenancy.audit.services import Actor
from tenancy.groups.models import LONGEST_GROUP, GroupRole, PersonGroups
from tenancy.models import User
from tenancy.roles import Role

MOST_GROUPS = 1_000  # of a person, kept of one source


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
    PersonGroups.objects.update_or_create(
        user=user,
        source_id=source_id,
        defaults={
            "source_name": source_name[:120],
            "groups": kept,
            "default_role": default_role,
            "note": note,
            "seen_at": timezone.now(),
        },
    )


def apply(*, actor: Actor, user: User) -> Role | None:
    """Give a member the roles that their groups map to, in the organization and in its projects; the role they have.

    None where groups do not decide: nothing is mapped, no source has said anything of them, or they are no member. The
    last owner stays one, which is told. Call it after `remember` and after they have joined, in the same transaction.
    """
    if not GroupRole.objects.exists():
        return None
    raise NotImplementedError


def forget(*, source_id: UUID, user: User | None = None) -> None:
    """Drop what a source said, of one person or of everybody: it is gone, or they are gone from it.

    Roles stay as they are until `apply` is called, or the person comes by another source.
    """
    rows = PersonGroups.objects.filter(source_id=source_id)
    (rows if user is None else rows.filter(user=user)).delete()
