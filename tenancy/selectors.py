"""Reads of the tenancy room for the organization in scope."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from tenancy.models import ApiKey, Invitation, Membership, Organization, Project, ProjectRole


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """How far an organization has come, for the checklist on its home page."""

    has_key: bool
    has_used_key: bool
    has_colleague: bool


def organization() -> Organization:
    """The organization in scope."""
    return Organization.objects.get()


def projects() -> list[Project]:
    """Its projects, oldest first, without archived ones."""
    return list(Project.objects.filter(archived_at=None).order_by("created_at"))


def members() -> list[Membership]:
    """Its members with their users, oldest first."""
    return list(Membership.objects.select_related("user").order_by("created_at"))


def project_roles(project_id: UUID) -> list[ProjectRole]:
    """Who has a role of their own in a project, with their users, oldest first."""
    rows = ProjectRole.objects.select_related("membership__user")
    return list(rows.filter(project_id=project_id).order_by("created_at", "id"))


def open_invitations() -> list[Invitation]:
    """Invitations not yet accepted or revoked, newest first; expired ones too, so that they can be sent again."""
    return list(Invitation.objects.filter(accepted_at=None, revoked_at=None).order_by("-created_at"))


def keys(*, project_id: UUID | None = None, with_ended: bool = False) -> list[ApiKey]:
    """API keys with their projects, newest first; ended ones (revoked or expired) on demand."""
    rows = ApiKey.objects.select_related("project").order_by("-id")
    if project_id:
        rows = rows.filter(project_id=project_id)
    if not with_ended:
        rows = rows.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None)
    return list(rows)


def first_steps() -> FirstSteps:
    """What the organization has done so far."""
    return FirstSteps(
        has_key=ApiKey.objects.exists(),
        has_used_key=ApiKey.objects.exclude(last_used_at=None).exists(),
        has_colleague=Membership.objects.count() > 1,
    )
