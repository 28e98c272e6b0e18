"""Creates, changes, closes, restores and purges organizations."""

import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuid_utils
from django.apps import apps
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django.utils.text import slugify

from capsule_cloud.lib import crypto
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, Invalid
from tenancy.models import Membership, Organization, OrganizationPurge, Project, User
from tenancy.roles import Role
from tenancy.scope import Owned, scope, unscoped

log = logging.getLogger("tenancy")
RESERVED_SLUGS = {"new", "account", "api", "admin", "docs", "static", "o", "outbox", "invitations", "health", "mcp", "v1"}


def target(organization: Organization) -> Target:
    """The organization as an audit target."""
    return Target("organization", str(organization.pk), organization.name)


def create(*, user: User, name: str, region: str = Organization.Region.EU) -> Organization:
    """A new organization, owned by `user`, with a first project named `Default`.

    The slug comes from the name; a taken one gets a short random tail. Raises Invalid for an empty name or unknown region.
    """
    name = name.strip()
    if not name or len(name) > 120:
        raise Invalid("name", "Give the organization a name of 1 to 120 characters.")
    if region not in Organization.Region.values:
        raise Invalid("region", f"Choose a region: {', '.join(Organization.Region.values)}.")
    base = slugify(name)[:50].strip("-") or "organization"
    slug = base if base not in RESERVED_SLUGS else f"{base}-{uuid_utils.uuid4().hex[:6]}"
    for _ in range(5):
        try:
            with transaction.atomic():
                return _create(user=user, name=name, slug=slug, region=region)
        except IntegrityError:
            slug = f"{base}-{uuid_utils.uuid4().hex[:6]}"
    raise Conflict("That name is taken; try another one.")


def _create(*, user: User, name: str, slug: str, region: str) -> Organization:
    organization = Organization(
        slug=slug, name=name, region=region, signing_key=crypto.seal(crypto.new_signing_key())
    )
    with scope(organization):
        organization.save(force_insert=True)
        actor = Actor("user", str(user.pk), user.email)
        record(action=actions.ORGANIZATION_CREATED, actor=actor, target=target(organization))
        Membership.objects.create(user=user, role=Role.OWNER)
        Project.objects.create(name="Default", slug="default")
    return organization


def update(*, actor: Actor, name: str | None = None, is_mfa_required: bool | None = None) -> Organization:
    """Change the settings of the organization in scope; None leaves one as it is. Raises Invalid."""
    organization = Organization.objects.select_for_update().get()
    changes: dict[str, Any] = {}
    if name is not None and name.strip() != organization.name:
        if not 1 <= len(name.strip()) <= 120:
            raise Invalid("name", "Give the organization a name of 1 to 120 characters.")
        changes["name"] = name.strip()
    if is_mfa_required is not None and is_mfa_required != organization.is_mfa_required:
        changes["is_mfa_required"] = is_mfa_required
    if changes:
        for field, value in changes.items():
            setattr(organization, field, value)
        organization.save(update_fields=list(changes))
        record(action=actions.ORGANIZATION_UPDATED, actor=actor, target=target(organization), metadata=changes)
    return organization


def close(*, actor: Actor) -> Organization:
    """Close the organization in scope: its keys and pages end at once, its data waits for the grace to pass."""
    organization = Organization.objects.select_for_update().get()
    if organization.closed_at is None:
        organization.closed_at = timezone.now()
        organization.save(update_fields=["closed_at"])
        record(
            action=actions.ORGANIZATION_CLOSED,
            actor=actor,
            target=target(organization),
            metadata={"purge_after": purge_after(organization).isoformat()},
        )
    return organization


def restore(*, actor: Actor) -> Organization:
    """Open a closed organization again, as it was, while its data is still there."""
    organization = Organization.objects.select_for_update().get()
    if organization.closed_at is not None:
        organization.closed_at = None
        organization.save(update_fields=["closed_at"])
        record(action=actions.ORGANIZATION_RESTORED, actor=actor, target=target(organization))
    return organization


def purge_after(organization: Organization) -> Any:
    """When a closed organization's data may be deleted, as an aware datetime."""
    return organization.closed_at + timedelta(days=settings.CLOSED_ORGANIZATION_GRACE_DAYS)  # type: ignore[operator]


def purge_due(*, limit: int = 10) -> list[OrganizationPurge]:
    """Purge the organizations whose grace has passed, each in a transaction of its own, and return the proofs."""
    cutoff = timezone.now() - timedelta(days=settings.CLOSED_ORGANIZATION_GRACE_DAYS)
    with unscoped(reason="find closed organizations whose grace has passed") as wide:
        due = [row["organization_id"] for row in wide.rows("tenancy_organizations_closed_before", cutoff, limit)]
    return [purge for organization_id in due if (purge := _purge(organization_id, cutoff))]


def _purge(organization_id: UUID, cutoff: Any) -> OrganizationPurge | None:
    with scope(organization_id):
        organization = Organization.objects.select_for_update(skip_locked=True).filter(closed_at__lt=cutoff).first()
        if organization is None:
            return None  # another worker has it, or it was restored meanwhile
        counts: dict[str, int] = {}
        with connection.cursor() as cursor:
            # foreign keys are checked at commit, so the order of tables does not matter
            for model in apps.get_models():
                if issubclass(model, Owned):
                    table = connection.ops.quote_name(model._meta.db_table)
                    cursor.execute(f"DELETE FROM {table} WHERE organization_id = %s", [organization_id])  # noqa: S608
                    counts[model._meta.label] = cursor.rowcount
            cursor.execute("DELETE FROM tenancy_organization WHERE id = %s", [organization_id])
            counts["tenancy.Organization"] = cursor.rowcount
        log.info("organization.purged organization=%s rows=%d", organization_id, sum(counts.values()))
        return OrganizationPurge.objects.create(
            organization_id=organization_id, slug=organization.slug, closed_at=organization.closed_at, counts=counts
        )
