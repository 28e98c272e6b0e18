"""Creates, changes and archives projects of the organization in scope."""

import re
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuid_utils
from django.utils import timezone
from django.utils.text import slugify

from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, Invalid, LimitReached, NotFound
from tenancy.models import ApiKey, Project
from tenancy.names import clean_name
from tenancy.services import organizations
from tenancy.webhooks import catalogue
from tenancy.webhooks.events import emit

MAX_ORIGINS = 50
ORIGIN = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


def target(project: Project) -> Target:
    """The project as an audit target."""
    return Target("project", str(project.pk), project.name)


def create(*, actor: Actor, name: str, slug: str = "") -> Project:
    """A new, empty project. Raises Invalid, Conflict (slug taken) or LimitReached (the plan's number of projects)."""
    name = clean_name(name, "project")
    wanted = slugify(slug or name)[:60].strip("-")
    if slug and not wanted:
        raise Invalid("slug", "Write the slug with letters, digits and hyphens.")
    organization = organizations.locked()
    if Project.objects.filter(archived_at=None).count() >= organization.project_limit:
        raise LimitReached(f"Your plan has {organization.project_limit} projects: archive one or change the plan.")
    if wanted and Project.objects.filter(slug=wanted).exists():
        raise Conflict(f"A project {wanted} exists already: choose another name.")
    # a name in a script without Latin letters leaves no slug: a random tail tells such projects apart
    project = Project.objects.create(name=name, slug=wanted or f"project-{uuid_utils.uuid4().hex[:6]}")
    told = {"slug": project.slug}
    record(action=actions.PROJECT_CREATED, actor=actor, target=target(project), metadata=told)
    emit(catalogue.PROJECT_CREATED, data=told, key=f"project-created:{project.pk}", project_id=project.pk)
    return project


def update(
    *,
    actor: Actor,
    project_id: UUID,
    name: str | None = None,
    cors_origins: list[str] | None = None,
    turn_retention_days: int | None = None,
    idle_seal_minutes: int | None = None,
    audit_reads: bool | None = None,
) -> Project:
    """Change a project; None leaves a setting as it is. Raises NotFound or Invalid.

    With `audit_reads`, every read of its memories is recorded in the audit trail.
    """
    project = find(project_id, for_update=True)
    wanted: dict[str, Any] = {}
    if name is not None:
        wanted["name"] = clean_name(name, "project")
    if cors_origins is not None:
        if len(cors_origins) > MAX_ORIGINS:
            raise Invalid("cors_origins", f"Give at most {MAX_ORIGINS} origins.")
        wanted["cors_origins"] = list(dict.fromkeys(clean_origin(origin) for origin in cors_origins))
    if turn_retention_days is not None:
        wanted["turn_retention_days"] = _within("turn_retention_days", turn_retention_days, 1, 3650)
    if idle_seal_minutes is not None:
        wanted["idle_seal_minutes"] = _within("idle_seal_minutes", idle_seal_minutes, 1, 10080)
    if audit_reads is not None:
        wanted["audit_reads"] = audit_reads
    action = actions.PROJECT_UPDATED
    if changes := action.change(project, wanted):
        project.save(update_fields=list(changes))
        record(action=action, actor=actor, target=target(project), changes=changes)
    return project


def archive(*, actor: Actor, project_id: UUID) -> Project:
    """Archive a project: its keys end at once, its memories stay until the organization is purged. Raises NotFound."""
    organizations.locked()
    project = find(project_id, for_update=True)
    changes = actions.PROJECT_ARCHIVED.change(project, {"archived_at": timezone.now()})
    project.save(update_fields=["archived_at"])
    ended = ApiKey.objects.filter(project=project, revoked_at=None).update(revoked_at=timezone.now())
    record(
        action=actions.PROJECT_ARCHIVED,
        actor=actor,
        target=target(project),
        metadata={"keys_revoked": ended},
        changes=changes,
    )
    told = {"slug": project.slug}
    emit(catalogue.PROJECT_ARCHIVED, data=told, key=f"project-archived:{project.pk}", project_id=project.pk)
    return project


def find(project_id: UUID, *, for_update: bool = False) -> Project:
    """A project of the organization in scope that is not archived. Raises NotFound."""
    rows = Project.objects.select_for_update(no_key=True) if for_update else Project.objects.all()
    project = rows.filter(pk=project_id, archived_at=None).first()
    if project is None:
        raise NotFound("There is no such project.")
    return project


def clean_origin(origin: str) -> str:
    """A CORS origin as browsers send it (`https://app.example.com`, RFC 6454), or Invalid. `*` is any origin."""
    origin = origin.strip().rstrip("/").lower()
    if origin != "*" and not (len(origin) <= 255 and ORIGIN.fullmatch(origin)):
        raise Invalid("cors_origins", f"{origin[:255]!r} is no origin: write it as https://app.example.com.")
    return origin


def _within(field: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise Invalid(field, f"Choose a number from {low} to {high}.")
    return value
