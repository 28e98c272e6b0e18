"""What tests of groups share: saying who is in which groups, and editing what groups give."""

import uuid

from tenancy.groups import previews, services
from tenancy.groups.previews import Edit, Preview
from tenancy.models import Membership, User
from tenancy.roles import Role
from tenancy.scope import scope
from tests.factories import Tenant

OKTA, ENTRA = uuid.UUID(int=1), uuid.UUID(int=2)


def say(tenant: Tenant, user: User, *groups: str, source: uuid.UUID = OKTA, default_role: Role = Role.VIEWER) -> None:
    """Have a source say in which groups somebody is."""
    with scope(tenant.organization):
        services.remember(
            user=user, source_id=source, source_name="Okta", groups=list(groups), default_role=default_role
        )


def preview(tenant: Tenant, *edits: Edit, by: Role = Role.OWNER) -> Preview:
    """See what edits would do."""
    with scope(tenant.organization):
        return previews.preview(actor_role=by, edits=edits)


def change(tenant: Tenant, *edits: Edit, by: Role = Role.OWNER) -> Preview:
    """See it, and confirm it."""
    with scope(tenant.organization):
        fingerprint = previews.preview(actor_role=by, edits=edits).fingerprint
        return services.change(actor=tenant.actor, actor_role=by, edits=edits, fingerprint=fingerprint)


def apply(tenant: Tenant, user: User) -> Role | None:
    """Come in, as it were."""
    with scope(tenant.organization):
        return services.apply(actor=tenant.actor, user=user)


def roles(tenant: Tenant) -> dict[uuid.UUID, Role]:
    """What everybody is."""
    with scope(tenant.organization):
        return {row.user_id: Role(row.role) for row in Membership.objects.order_by("created_at", "id")}
