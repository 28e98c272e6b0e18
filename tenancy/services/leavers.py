"""Ends all that somebody has in the organization in scope when its directory says that they have left."""

from uuid import UUID

from tenancy.audit import actions
from tenancy.audit.services import Actor, record
from tenancy.models import ApiKey, Invitation, Membership, User
from tenancy.roles import Role, rights_in, scopes_within
from tenancy.services import invitations, keys, members


def withdraw(*, actor: Actor, user: User, heir_id: UUID | None, sessions_ended: int) -> Role:
    """End a membership whatever its rank; returns the role that it had. Open invitations to the address end with it.

    Keys that the person made go to the heir, if that one is a member who could have made them; all others end, and
    what is below them. Raises NotFound for who is no member, or LastOwner.
    """
    membership = members.locked(user.pk)
    role = Role(membership.role)
    handed_over = _hand_over(actor, user, heir_id) if heir_id is not None and heir_id != user.pk else 0
    metadata = {"keys_handed_over": handed_over, "sessions_ended": sessions_ended}
    members.end(membership, actor=actor, action=actions.MEMBER_REMOVED, metadata=metadata)
    void_invitations(actor=actor, email=user.email)
    return role


def void_invitations(*, actor: Actor, email: str) -> None:
    """Revoke the open invitations of an address: somebody who has left must not come back by an old one."""
    still_open = Invitation.objects.filter(email__iexact=email, accepted_at=None, revoked_at=None)
    for invitation_id in still_open.values_list("pk", flat=True):
        invitations.revoke(actor=actor, invitation_id=invitation_id)


def _hand_over(actor: Actor, user: User, heir_id: UUID) -> int:
    """Make the heir the maker of what they could have made themselves; how many keys that were."""
    if not Membership.objects.filter(user_id=heir_id, user__is_active=True).exists():
        return 0
    roles, own = keys.roles_of(heir_id)
    held = list(ApiKey.objects.filter(keys.is_live(), created_by=user))
    fitting = [key for key in held if scopes_within(rights_in(own, roles.get(key.project_id)), key.scopes)]
    ending = keys.with_those_below(key.pk for key in held if key not in fitting)
    handed_over = [key for key in fitting if key.pk not in ending]
    for key in handed_over:
        key.created_by_id = heir_id
        key.save(update_fields=["created_by"])
        metadata = {"from": str(user.pk), "to": str(heir_id)}
        record(action=actions.KEY_HANDED_OVER, actor=actor, target=keys.target(key), metadata=metadata)
    return len(handed_over)
