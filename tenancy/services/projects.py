"""Creates, changes and archives projects of the organization in scope."""

import re
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.utils import timezone
from django.utils.text import slugify

from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, Invalid, LimitReached, NotFound
from tenancy.models import ApiKey, Organization, Project


def target(project: Project) -> Target:
    """The project as an audit target."""
    return Target("project", str(project.pk), project.name)


def create(*, actor: Actor, name: str, slug: str = "") -> Project:
    """A new, empty project. Raises Invalid, Conflict (slug taken) or LimitReached (the plan's number of projects)."""
    name = name.strip()
    if not 1 <= len(name) <= 120:
        raise Invalid("name", "Give the project a name of 1 to 120 characters.")
    slug = slugify(slug or name)[:60].strip("-") or "project"
    organization = Organization.objects.select_for_update().get()
    if Project.objects.filter(archived_at=None).count() >= organization.project_limit:
        raise LimitReached(f"Your plan has {organization.project_limit} projects: archive one or change the plan.")
    if Project.objects.filter(slug=slug).exists():
        raise Conflict(f"A project {slug} exists already: choose another name.")
    project = Project.objects.create(name=name, slug=slug)
    record(action=actions.PROJECT_CREATED, actor=actor, target=target(project))
    return project


def update(
    *,
    actor: Actor,
    project_id: UUID,
    name: str | None = None,
    cors_origins: list[str] | None = None,
    turn_retention_days: int | None = None,
    idle_seal_minutes: int | None = None,
) -> Project:
    """Change a project; None leaves a setting as it is. Raises NotFound or Invalid."""
    project = find(project_id, for_update=True)
    changes: dict[str, Any] = {}
    if name is not None:
        if not 1 <= len(name.strip()) <= 120:
            raise Invalid("name", "Give the project a name of 1 to 120 characters.")
        changes["name"] = name.strip()
    if cors_origins is not None:
        changes["cors_origins"] = [clean_origin(origin) for origin in cors_origins]
    if turn_retention_days is not None:
        changes["turn_retention_days"] = _within("turn_retention_days", turn_retention_days, 1, 3650)
    if idle_seal_minutes is not None:
        changes["idle_seal_minutes"] = _within("idle_seal_minutes", idle_seal_minutes, 1, 10080)
    changes = {field: value for field, value in changes.items() if getattr(project, field) != value}
    if changes:
        for field, value in changes.items():
            setattr(project, field, value)
        project.save(update_fields=list(changes))
        record(action=actions.PROJECT_UPDATED, actor=actor, target=target(project), metadata=changes)
    return project


def archive(*, actor: Actor, project_id: UUID) -> Project:
    """Archive a project: its keys end at once, its memories stay until the organization is purged. Raises NotFound."""
    project = find(project_id, for_update=True)
    project.archived_at = timezone.now()
    project.save(update_fields=["archived_at"])
    ended = ApiKey.objects.filter(project=project, revoked_at=None).update(revoked_at=timezone.now())
    record(action=actions.PROJECT_ARCHIVED, actor=actor, target=target(project), metadata={"keys_revoked": ended})
    return project


def find(project_id: UUID, *, for_update: bool = False) -> Project:
    """A project of the organization in scope that is not archived. Raises NotFound."""
    rows = Project.objects.select_for_update() if for_update else Project.objects.all()
    project = rows.filter(pk=project_id, archived_at=None).first()
    if project is None:
        raise NotFound("There is no such project.")
    return project


def clean_origin(origin: str) -> str:
    """A CORS origin as browsers send it (`https://app.example.com`, RFC 6454), or Invalid. `*` is any origin."""
    origin = origin.strip().rstrip("/").lower()
    parts = urlsplit(origin)
    is_origin = parts.scheme in {"http", "https"} and parts.netloc and origin == f"{parts.scheme}://{parts.netloc}"
    if origin != "*" and not (is_origin and re.fullmatch(r"[a-z0-9.\-:\[\]]+", parts.netloc)):
        raise Invalid("cors_origins", f"{origin!r} is no origin: write it as https://app.example.com.")
    return origin


def _within(field: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise Invalid(field, f"Choose a number from {low} to {high}.")
    return value
