"""Creates, changes, closes, restores and purges organizations."""

import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import uuid_utils.compat as uuid_utils
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from django.utils.text import slugify

from capsule_cloud.lib import crypto
from tenancy.audit import actions
from tenancy.audit.retention import held
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.models import Membership, Organization, OrganizationPurge, Project, User
from tenancy.names import clean_name
from tenancy.roles import Role
from tenancy.scope import Owned, scope, unscoped

log = logging.getLogger("tenancy")
LONGEST_SESSION = settings.SESSION_COOKIE_AGE // 3600  # hours
RESERVED_SLUGS = {
    "new",
    "account",
    "api",
    "admin",
    "docs",
    "static",
    "o",
    "outbox",
    "invitations",
    "health",
    "mcp",
    "v1",
}


class PurgeFailed(Exception):
    """Some closed organizations could not be purged; the log says why, the next run tries again."""

    def __init__(self, organization_ids: list[UUID]) -> None:
        super().__init__(", ".join(map(str, organization_ids)))
        self.organization_ids = organization_ids


def target(organization: Organization) -> Target:
    """The organization as an audit target."""
    return Target("organization", str(organization.pk), organization.name)


def locked() -> Organization:
    """The organization in scope, locked: its limits, owners and keys are changed one after the other. Raises NotFound.

    The lock lets new sessions, capsules and other rows refer to the organization meanwhile.
    """
    organization = Organization.objects.select_for_update(no_key=True).first()
    if organization is None:
        raise NotFound("There is no such organization.")
    return organization


def create(*, user: User, name: str, region: str = Organization.Region.EU) -> Organization:
    """A new organization, owned by `user`, with a first project named `Default`.

    The slug comes from the name; a taken one gets a short random tail. Raises Invalid for a bad name or unknown region.
    """
    name = clean_name(name, "organization")
    if region not in Organization.Region.values:
        raise Invalid("region", f"Choose a region: {', '.join(Organization.Region.values)}.")
    base = slugify(name)[:50].strip("-") or "organization"
    slug = base if base not in RESERVED_SLUGS else f"{base}-{uuid_utils.uuid4().hex[:6]}"
    for _ in range(5):
        try:
            with transaction.atomic():
                return _create(user=user, name=name, slug=slug, region=region)
        except IntegrityError as error:
            if _constraint(error) != "tenancy_organization_slug_key":
                raise
            slug = f"{base}-{uuid_utils.uuid4().hex[:6]}"
    raise Conflict("That name is taken; try another one.")


def _constraint(error: IntegrityError) -> str | None:
    cause = error.__cause__
    return cause.diag.constraint_name if isinstance(cause, psycopg.Error) else None


def _create(*, user: User, name: str, slug: str, region: str) -> Organization:
    organization = Organization(slug=slug, name=name, region=region, signing_key=crypto.seal(crypto.new_signing_key()))
    with scope(organization):
        organization.save(force_insert=True)
        actor = Actor("user", str(user.pk), user.email)
        record(action=actions.ORGANIZATION_CREATED, actor=actor, target=target(organization))
        Membership.objects.create(user=user, role=Role.OWNER)
        Project.objects.create(name="Default", slug="default")
    return organization


def update(
    *,
    actor: Actor,
    name: str | None = None,
    is_mfa_required: bool | None = None,
    session_hours: int | None = None,
) -> Organization:
    """Change the settings of the organization in scope; None leaves one as it is. Raises Invalid or NotFound.

    After `session_hours` people sign in again; 0 ends that, and sessions last as long as our cookie does.
    """
    organization = locked()
    wanted: dict[str, Any] = {}
    if name is not None:
        wanted["name"] = clean_name(name, "organization")
    if is_mfa_required is not None:
        wanted["is_mfa_required"] = is_mfa_required
    if session_hours is not None:
        if not 0 <= session_hours <= LONGEST_SESSION:
            raise Invalid("session_hours", f"Choose 1 to {LONGEST_SESSION} hours.")
        wanted["session_hours"] = session_hours or None
    action = actions.ORGANIZATION_UPDATED
    if changes := action.change(organization, wanted):
        organization.save(update_fields=list(changes))
        record(action=action, actor=actor, target=target(organization), changes=changes)
    return organization


def close(*, actor: Actor) -> Organization:
    """Close the organization in scope: its keys and pages end at once, its data waits for the grace to pass.

    Raises NotFound.
    """
    organization = locked()
    if organization.closed_at is None:
        action = actions.ORGANIZATION_CLOSED
        changes = action.change(organization, {"closed_at": timezone.now()})
        organization.save(update_fields=["closed_at"])
        metadata = {"purge_after": purge_after(organization).isoformat()}
        record(action=action, actor=actor, target=target(organization), metadata=metadata, changes=changes)
    return organization


def restore(*, actor: Actor) -> Organization:
    """Open a closed organization again, as it was, while its data is still there. Raises NotFound once it is purged."""
    organization = locked()
    if organization.closed_at is not None:
        action = actions.ORGANIZATION_RESTORED
        changes = action.change(organization, {"closed_at": None})
        organization.save(update_fields=["closed_at"])
        record(action=action, actor=actor, target=target(organization), changes=changes)
    return organization


def purge_after(organization: Organization) -> Any:
    """When a closed organization's data may be deleted, as an aware datetime."""
    return organization.closed_at + timedelta(days=settings.CLOSED_ORGANIZATION_GRACE_DAYS)  # type: ignore[operator]


def purge_due(*, limit: int = 1000) -> list[OrganizationPurge]:
    """Purge the organizations whose grace has passed, each in a transaction of its own, and return the proofs.

    One that cannot be purged does not keep the others: it is logged, and PurgeFailed is raised once they are done.
    """
    cutoff = timezone.now() - timedelta(days=settings.CLOSED_ORGANIZATION_GRACE_DAYS)
    with unscoped(reason="find closed organizations whose grace has passed") as wide:
        due = [row["organization_id"] for row in wide.rows("tenancy_organizations_closed_before", cutoff, limit)]
    purges: list[OrganizationPurge] = []
    failed: list[UUID] = []
    for organization_id in due:
        try:
            purge = _purge(organization_id, cutoff)
        except DatabaseError:
            log.exception("organization.purge_failed organization=%s", organization_id)
            failed.append(organization_id)
        else:
            purges += [purge] if purge else []
    if failed:
        raise PurgeFailed(failed)
    return purges


def _purge(organization_id: UUID, cutoff: Any) -> OrganizationPurge | None:
    with scope(organization_id):
        organization = Organization.objects.select_for_update(skip_locked=True).filter(closed_at__lt=cutoff).first()
        if organization is None:
            return None  # another worker has it, or it was restored meanwhile
        if held():
            log.warning("organization.purge_held organization=%s", organization_id)
            return None
        counts: dict[str, int] = {}
        with connection.cursor() as cursor:
            # foreign keys are checked at commit, so the order of tables does not matter
            for model in apps.get_models():
                if issubclass(model, Owned):
                    counts[model._meta.label] = _purge_rows(cursor, model, organization_id)
            cursor.execute("DELETE FROM tenancy_organization WHERE id = %s", [organization_id])
            counts["tenancy.Organization"] = cursor.rowcount
        log.info("organization.purged organization=%s rows=%d", organization_id, sum(counts.values()))
        return OrganizationPurge.objects.create(
            organization_id=organization_id,
            slug=organization.slug,
            closed_at=organization.closed_at,  # type: ignore[misc]  # the filter above found it closed
            counts=counts,
        )


def _purge_rows(cursor: CursorWrapper, model: type[Owned], organization_id: UUID) -> int:
    if model.purge_function:
        cursor.execute(f"SELECT {model.purge_function}(%s)", [organization_id])  # the model's own word
        [(deleted,)] = cursor.fetchall()
        return int(deleted)
    table = connection.ops.quote_name(model._meta.db_table)
    cursor.execute(f"DELETE FROM {table} WHERE organization_id = %s", [organization_id])  # noqa: S608
    return int(cursor.rowcount)
