"""Begins, changes and ends memberships of the organization in scope; the last owner stays."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from tenancy.audit import actions
from tenancy.audit.actions import Action
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound
from tenancy.models import ApiKey, Membership, User
from tenancy.roles import Role, may_grant
from tenancy.services import keys, organizations
from tenancy.webhooks import catalogue
from tenancy.webhooks.events import emit


class LastOwner(Conflict):
    """The organization would be left without an owner."""

    code = "last_owner"


def target(user: User) -> Target:
    """A member as an audit target."""
    return Target("user", str(user.pk), user.email)


def join(*, user: User, role: str, actor: Actor | None = None) -> Membership:
    """Make a person a member, by their own hand unless there is another actor; who is one already stays as they are.

    Raises LimitReached.
    """
    limit = organizations.locked().member_limit
    membership = Membership.objects.filter(user=user).first()
    if membership is not None:
        return membership
    if Membership.objects.count() >= limit:
        raise LimitReached(f"All {limit} seats are taken.")
    membership = Membership.objects.create(user=user, role=role)
    done = record(
        action=actions.MEMBER_ADDED,
        actor=actor or Actor("user", str(user.pk), user.email),
        target=target(user),
        metadata={"role": role},
    )
    emit(catalogue.MEMBER_ADDED, data={"user_id": user.pk, "role": role}, key=str(done.pk))
    return membership


def change_role(*, actor: Actor, actor_role: Role, user_id: UUID, role: str) -> Membership:
    """Give a member another role; keys that outrank it end, and those below them.

    Raises NotFound, Invalid, Forbidden or LastOwner.
    """
    if role not in Role.values:
        raise Invalid("role", f"Choose a role: {', '.join(Role.values)}.")
    membership = locked(user_id)
    if not (may_grant(actor_role, Role(membership.role)) and may_grant(actor_role, Role(role))):
        raise Forbidden("Only an owner can give or take the owner's role.")
    before = membership.role
    if before == role:
        return membership
    if before == Role.OWNER:
        _keep_an_owner(user_id)
    changes = actions.MEMBER_ROLE_CHANGED.change(membership, {"role": role})
    membership.save(update_fields=["role"])
    ended = keys.end_outranked(user_id)
    record(
        action=actions.MEMBER_ROLE_CHANGED,
        actor=actor,
        target=target(membership.user),
        metadata={"keys_revoked": ended},
        changes=changes,
    )
    return membership


def change_roles(*, actor: Actor, roles: Mapping[UUID, Role], reasons: Mapping[UUID, str]) -> None:
    """Give many members other roles, each for a reason: as `change_role` by an owner, with few statements for all.

    Raises LastOwner where none would be left.
    """
    organizations.locked()
    rows = Membership.objects.select_related("user").filter(user_id__in=roles)
    changed = {one.user_id: one for one in rows if one.role != roles[one.user_id]}
    is_losing = any(one.role == Role.OWNER for one in changed.values())
    action = actions.MEMBER_ROLE_CHANGED
    changes = {user_id: action.change(one, {"role": roles[user_id]}) for user_id, one in changed.items()}
    Membership.objects.bulk_update(changed.values(), ["role"], batch_size=500)
    if is_losing:
        _keep_an_owner()
    ended = keys.end_outranked_of(changed)
    for user_id, one in changed.items():
        record(
            action=action,
            actor=actor,
            target=target(one.user),
            metadata={"keys_revoked": ended.get(user_id, 0)},
            changes=changes[user_id],
            reason=reasons[user_id],
        )


def remove(*, actor: Actor, actor_role: Role, user_id: UUID) -> int:
    """Remove a member; end every key that they made and those below; returns how many. Leaving is removing oneself.

    Raises NotFound, Forbidden or LastOwner.
    """
    membership = locked(user_id)
    is_leaving = actor.kind == "user" and actor.id == str(user_id)
    if not is_leaving and not may_grant(actor_role, Role(membership.role)):
        raise Forbidden("Only an owner can remove an owner.")
    return end(membership, actor=actor, action=actions.MEMBER_LEFT if is_leaving else actions.MEMBER_REMOVED)


def end(
    membership: Membership, *, actor: Actor, action: Action, metadata: Mapping[str, Any] = MappingProxyType({})
) -> int:
    """End a membership that `locked` gave, and every key that the person made and those below; returns how many.

    Raises LastOwner.
    """
    user = membership.user
    if membership.role == Role.OWNER:
        _keep_an_owner(user.pk)
    held = ApiKey.objects.filter(created_by=user, revoked_at=None).values_list("pk", flat=True)
    ended = keys.end_keys(held)
    membership.delete()
    done = record(
        action=action,
        actor=actor,
        target=target(user),
        metadata={"keys_revoked": ended, **metadata},
        changes=action.changed({"role": membership.role}, {}),
    )
    emit(catalogue.MEMBER_REMOVED, data={"user_id": user.pk, "role": membership.role}, key=str(done.pk))
    return ended


def locked(user_id: UUID) -> Membership:
    """A person's membership, which nobody else changes meanwhile. Raises NotFound."""
    # the organization's row orders concurrent changes: two owners leaving at once cannot both pass the check
    organizations.locked()
    membership = Membership.objects.select_related("user").filter(user_id=user_id).first()
    if membership is None:
        raise NotFound("There is no such member.")
    return membership


def _keep_an_owner(*without: UUID) -> None:
    """Raise LastOwner where there is no owner beside these."""
    # an owner whose account is switched off cannot act as one
    if not Membership.objects.filter(role=Role.OWNER, user__is_active=True).exclude(user_id__in=without).exists():
        raise LastOwner("The last owner cannot leave or step down: make somebody else an owner first.")
