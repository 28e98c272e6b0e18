"""Invites people by e-mail: signed, expiring, single use; resend makes the earlier link void."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.core.validators import MaxLengthValidator, validate_email
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound
from tenancy.models import Invitation, Membership, Organization, User
from tenancy.roles import Role, may_grant
from tenancy.scope import scope, unscoped
from tenancy.services import members, organizations

LIFETIME = timedelta(days=7)
SALT = "tenancy.invitation"
LONGEST_EMAIL = 254  # RFC 5321


class InvitationInvalid(NotFound):
    """The link is forged, expired, used, revoked or replaced by a newer one."""

    code = "invitation_invalid"


@dataclass(frozen=True, slots=True)
class Offer:
    """What an invitation link offers."""

    invitation_id: UUID
    organization_id: UUID
    organization_name: str
    email: str
    role: str
    invited_by: str


def create(*, actor: Actor, actor_role: Role, email: str, role: str) -> Invitation:
    """Invite an address and mail it a link. Raises Invalid, Forbidden, Conflict or LimitReached."""
    email = email.strip().lower()
    try:
        validate_email(email)
        MaxLengthValidator(LONGEST_EMAIL)(email)
    except ValidationError:
        raise Invalid("email", "Write an e-mail address like name@example.com.") from None
    if role not in Role.values:
        raise Invalid("role", f"Choose a role: {', '.join(Role.values)}.")
    if not may_grant(actor_role, Role(role)):
        raise Forbidden("Only an owner can invite an owner.")
    organization = organizations.locked()
    if Membership.objects.filter(user__email__iexact=email).exists():
        raise Conflict(f"{email} is a member already.")
    now = timezone.now()
    open_ones = Invitation.objects.filter(accepted_at=None, revoked_at=None)
    open_ones.filter(expires_at__lte=now).update(revoked_at=now)
    if open_ones.filter(email__iexact=email).exists():
        raise Conflict(f"{email} is invited already: send that invitation again instead.")
    if Membership.objects.count() + open_ones.count() >= organization.member_limit:
        raise LimitReached(f"Your plan has {organization.member_limit} seats: remove a member or change the plan.")
    invitation = Invitation.objects.create(email=email, role=role, invited_by=actor.label, expires_at=now + LIFETIME)
    record(action=actions.INVITATION_CREATED, actor=actor, target=_target(invitation), metadata={"role": role})
    _mail(invitation, organization)
    return invitation


def resend(*, actor: Actor, invitation_id: UUID) -> Invitation:
    """Mail a new link; the earlier one is void. Raises NotFound."""
    invitation = _open(invitation_id)
    invitation.generation += 1
    changes = actions.INVITATION_RESENT.change(invitation, {"expires_at": timezone.now() + LIFETIME})
    invitation.save(update_fields=["generation", "expires_at"])
    record(action=actions.INVITATION_RESENT, actor=actor, target=_target(invitation), changes=changes)
    _mail(invitation, Organization.objects.get())
    return invitation


def revoke(*, actor: Actor, invitation_id: UUID) -> Invitation:
    """Make an open invitation void. Raises NotFound."""
    invitation = _open(invitation_id)
    invitation.revoked_at = timezone.now()
    invitation.save(update_fields=["revoked_at"])
    record(action=actions.INVITATION_REVOKED, actor=actor, target=_target(invitation))
    return invitation


def read(token: str) -> Offer:
    """What a link offers, for the page that asks whether to accept. Raises InvitationInvalid."""
    organization_id, invitation_id, generation = _unsign(token)
    with scope(organization_id):
        organization = Organization.objects.filter(pk=organization_id, closed_at=None).first()
        invitation = Invitation.objects.filter(pk=invitation_id, generation=generation).first()
        if organization is None or invitation is None or not _is_open(invitation):
            raise InvitationInvalid("This invitation is no longer valid: ask for a new one.")
        return Offer(
            invitation.pk, organization.pk, organization.name, invitation.email, invitation.role, invitation.invited_by
        )


def accept(*, token: str, user: User) -> Membership:
    """Make `user` a member, once.

    Raises InvitationInvalid, LimitReached, or Forbidden when it was sent to another address.
    """
    organization_id, invitation_id, generation = _unsign(token)
    with scope(organization_id):
        invitation = Invitation.objects.select_for_update().filter(pk=invitation_id, generation=generation).first()
        if invitation is None or not _is_open(invitation) or not Organization.objects.filter(closed_at=None).exists():
            raise InvitationInvalid("This invitation is no longer valid: ask for a new one.")
        if invitation.email.lower() != user.email.lower():
            raise Forbidden(f"This invitation was sent to {invitation.email}: sign in with that address.")
        invitation.accepted_at = timezone.now()
        invitation.save(update_fields=["accepted_at"])
        actor = Actor("user", str(user.pk), user.email)
        record(action=actions.INVITATION_ACCEPTED, actor=actor, target=_target(invitation))
        try:
            return members.join(user=user, role=invitation.role)
        except LimitReached as failure:
            raise LimitReached(f"{failure} Ask whoever invited you for one more, and open the link again.") from None


def token_for(invitation: Invitation) -> str:
    """The signed content of the link; void after LIFETIME or once `generation` moves on."""
    content = [str(invitation.organization_id), str(invitation.pk), invitation.generation]
    return signing.dumps(content, salt=SALT)


def tokens_for_email(email: str) -> list[str]:
    """Tokens of the open invitations of a confirmed address, so that the console can offer them after sign-in."""
    with unscoped(reason="offer a signed-in person the invitations sent to them") as wide:
        found = [(row["organization_id"], row["invitation_id"]) for row in wide.rows("tenancy_invitations_of", email)]
    tokens = []
    for organization_id, invitation_id in found:
        with scope(organization_id):
            tokens += [token_for(i) for i in Invitation.objects.filter(pk=invitation_id) if _is_open(i)]
    return tokens


def _unsign(token: str) -> tuple[UUID, UUID, int]:
    try:
        organization_id, invitation_id, generation = signing.loads(token, salt=SALT, max_age=LIFETIME)
    except signing.BadSignature:
        raise InvitationInvalid("This invitation is no longer valid: ask for a new one.") from None
    return UUID(organization_id), UUID(invitation_id), generation


def _is_open(invitation: Invitation) -> bool:
    return invitation.accepted_at is None and invitation.revoked_at is None and invitation.expires_at > timezone.now()


def _open(invitation_id: UUID) -> Invitation:
    invitation = Invitation.objects.select_for_update().filter(pk=invitation_id).first()
    if invitation is None or invitation.accepted_at or invitation.revoked_at:
        raise NotFound("There is no such open invitation.")
    return invitation


def _target(invitation: Invitation) -> Target:
    return Target("invitation", str(invitation.pk), invitation.email)


def _mail(invitation: Invitation, organization: Organization) -> None:
    link = f"{settings.PUBLIC_URL}/invitations/{token_for(invitation)}/"
    body = render_to_string(
        "tenancy/invitation_mail.txt", {"invitation": invitation, "organization": organization, "link": link}
    )
    subject = f"{invitation.invited_by} invites you to {organization.name}"
    # robust: the invitation stands; a mail server that is away is logged, and "send again" is the remedy
    transaction.on_commit(lambda: send_mail(subject, body, None, [invitation.email]), robust=True)
