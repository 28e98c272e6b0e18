"""The one table of rights: what each role may do, and which rights each API key scope carries."""

from enum import StrEnum

from django.db import models


class Role(models.TextChoices):
    """What a member is in an organization."""

    OWNER = "owner", "Owner"
    ADMIN = "admin", "Admin"
    MEMBER = "member", "Member"
    VIEWER = "viewer", "Viewer"
    BILLING = "billing", "Billing"


class Right(StrEnum):
    """One thing that somebody may do."""

    ORGANIZATION_READ = "organization:read"
    ORGANIZATION_WRITE = "organization:write"
    ORGANIZATION_CLOSE = "organization:close"
    MEMBERS_READ = "members:read"
    MEMBERS_WRITE = "members:write"
    PROJECTS_READ = "projects:read"
    PROJECTS_WRITE = "projects:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    MEMORY_READ = "memory:read"
    MEMORY_WRITE = "memory:write"
    MEMORY_DELETE = "memory:delete"
    AUDIT_READ = "audit:read"
    AUDIT_EXPORT = "audit:export"
    AUDIT_ERASE = "audit:erase"
    USAGE_READ = "usage:read"
    BILLING_READ = "billing:read"
    BILLING_WRITE = "billing:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    SSO_READ = "sso:read"
    SSO_MANAGE = "sso:manage"


_VIEWER = {
    Right.ORGANIZATION_READ,
    Right.MEMBERS_READ,
    Right.PROJECTS_READ,
    Right.KEYS_READ,
    Right.MEMORY_READ,
    Right.USAGE_READ,
}
_MEMBER = _VIEWER | {Right.KEYS_WRITE, Right.MEMORY_WRITE, Right.MEMORY_DELETE}
_ADMIN = _MEMBER | {
    Right.ORGANIZATION_WRITE,
    Right.MEMBERS_WRITE,
    Right.PROJECTS_WRITE,
    Right.AUDIT_READ,
    Right.AUDIT_EXPORT,
    Right.BILLING_READ,
    Right.WEBHOOKS_READ,
    Right.WEBHOOKS_WRITE,
    Right.SSO_READ,
    Right.SSO_MANAGE,
}
RIGHTS: dict[Role, frozenset[Right]] = {
    Role.OWNER: frozenset(Right),
    Role.ADMIN: frozenset(_ADMIN),
    Role.MEMBER: frozenset(_MEMBER),
    Role.VIEWER: frozenset(_VIEWER),
    Role.BILLING: frozenset({Right.ORGANIZATION_READ, Right.USAGE_READ, Right.BILLING_READ, Right.BILLING_WRITE}),
}


PROJECT_ROLES = (Role.ADMIN, Role.MEMBER, Role.VIEWER)
_OF_A_PROJECT = {right for right in Right if right.startswith(("projects:", "keys:", "memory:"))}


def rights_in(role: Role, project_role: Role | None) -> frozenset[Right]:
    """What a member of `role` may do in a project in which they also have a role; it adds, and takes nothing away.

    A role that sees no projects sees none by a role in one either.
    """
    rights = RIGHTS[role]
    if project_role is None or Right.PROJECTS_READ not in rights:
        return rights
    return rights | RIGHTS[project_role] & _OF_A_PROJECT


class KeyScope(models.TextChoices):
    """What an API key may do; the words of an OAuth 2.1 scope."""

    MEMORY_READ = "memory:read", "Read and recall memories"
    MEMORY_WRITE = "memory:write", "Ingest, seal, import and change memories"
    MEMORY_DELETE = "memory:delete", "Delete memories and end users"
    ORG_READ = "org:read", "Read the organization, its projects, members, keys and usage"
    ORG_WRITE = "org:write", "Change projects, members and invitations"
    KEYS_WRITE = "keys:write", "Create, rotate and revoke API keys"
    AUDIT_READ = "audit:read", "Read the audit log"
    AUDIT_EXPORT = "audit:export", "Export the audit log, and send it to stores of yours"
    AUDIT_ERASE = "audit:erase", "Erase people from the audit log, for good"
    BILLING_READ = "billing:read", "Read the plan, invoices and credits"
    BILLING_WRITE = "billing:write", "Change the plan and caps, and pay"
    WEBHOOKS_READ = "webhooks:read", "Read webhook endpoints and their logs"
    WEBHOOKS_WRITE = "webhooks:write", "Change webhook endpoints, and send again"
    SSO_READ = "sso:read", "Read single sign-on: domains, identity providers, directories, and who came by them"
    SSO_MANAGE = "sso:manage", "Set up single sign-on: domains, identity providers, groups and directories"


SCOPE_RIGHTS: dict[KeyScope, frozenset[Right]] = {
    KeyScope.MEMORY_READ: frozenset({Right.MEMORY_READ}),
    KeyScope.MEMORY_WRITE: frozenset({Right.MEMORY_WRITE}),
    KeyScope.MEMORY_DELETE: frozenset({Right.MEMORY_DELETE}),
    KeyScope.ORG_READ: frozenset(
        {Right.ORGANIZATION_READ, Right.MEMBERS_READ, Right.PROJECTS_READ, Right.KEYS_READ, Right.USAGE_READ}
    ),
    KeyScope.ORG_WRITE: frozenset({Right.ORGANIZATION_WRITE, Right.MEMBERS_WRITE, Right.PROJECTS_WRITE}),
    KeyScope.KEYS_WRITE: frozenset({Right.KEYS_WRITE}),
    KeyScope.AUDIT_READ: frozenset({Right.AUDIT_READ}),
    KeyScope.AUDIT_EXPORT: frozenset({Right.AUDIT_EXPORT}),
    KeyScope.AUDIT_ERASE: frozenset({Right.AUDIT_ERASE}),
    KeyScope.BILLING_READ: frozenset({Right.BILLING_READ}),
    KeyScope.BILLING_WRITE: frozenset({Right.BILLING_WRITE}),
    KeyScope.WEBHOOKS_READ: frozenset({Right.WEBHOOKS_READ}),
    KeyScope.WEBHOOKS_WRITE: frozenset({Right.WEBHOOKS_WRITE}),
    KeyScope.SSO_READ: frozenset({Right.SSO_READ}),
    KeyScope.SSO_MANAGE: frozenset({Right.SSO_MANAGE}),
}
DEFAULT_SCOPES = [KeyScope.MEMORY_READ, KeyScope.MEMORY_WRITE]


def may_grant(role: Role, granted: Role) -> bool:
    """Whether a member of `role` may give `granted` (or take it): nobody gives more than they have."""
    return Right.MEMBERS_WRITE in RIGHTS[role] and RIGHTS[granted] <= RIGHTS[role] | RIGHTS[Role.BILLING]


def scopes_within(rights: frozenset[Right], scopes: list[str]) -> bool:
    """Whether somebody with these rights may put these scopes on a key: a key never outranks who made it."""
    return all(SCOPE_RIGHTS[KeyScope(scope)] <= rights for scope in scopes)
