"""Makes directories, and the users and groups that they bring."""

import uuid
from typing import Any

from tenancy.groups.models import GroupRole
from tenancy.models import Membership, User
from tenancy.roles import Role
from tenancy.scim import provisioning
from tenancy.scim.directories import services, tokens
from tenancy.scim.directories.tokens import DirectoryPrincipal
from tenancy.scim.models import Directory, DirectoryGroup, DirectoryGroupMember, DirectoryUser
from tenancy.scope import scope
from tests.factories import Tenant


def connected(tenant: Tenant, **more: Any) -> tuple[Directory, DirectoryPrincipal, str]:
    """A directory of the tenant, at work by its first token."""
    wanted = {"name": "Okta", "kind": "okta"} | more
    with scope(tenant.organization):
        directory, made = services.add(actor=tenant.actor, actor_role=Role.OWNER, **wanted)
    return directory, tokens.authenticate(f"Bearer {made.secret}"), made.secret


def brought(directory: Directory, email: str, **more: Any) -> DirectoryUser:
    """A user of the directory, written and not yet provisioned; in scope."""
    values = {"user_name": email, "email": email, "external_id": uuid.uuid4().hex} | more
    return DirectoryUser.objects.create(directory=directory, **values)


def provisioned(
    tenant: Tenant, directory: Directory, who: DirectoryPrincipal, email: str, **more: Any
) -> DirectoryUser:
    """A user of the directory, who is a member now."""
    with scope(tenant.organization):
        row = brought(directory, email, **more)
        provisioning.provision(row, actor=who.actor)
    return row


def account_of(row: DirectoryUser) -> User:
    """The account that a user of a directory is."""
    assert row.user is not None
    return row.user


def role_of(tenant: Tenant, user: User) -> str:
    """The role of somebody in the tenant's organization; '' for who is no member."""
    with scope(tenant.organization):
        found = Membership.objects.filter(user=user).first()
    return found.role if found else ""


def group(directory: Directory, name: str, *inside: DirectoryUser | DirectoryGroup) -> DirectoryGroup:
    """A group with these users and groups in it; in scope."""
    made = DirectoryGroup.objects.create(directory=directory, display_name=name)
    for one in inside:
        kind = "user" if isinstance(one, DirectoryUser) else "subgroup"
        DirectoryGroupMember.objects.create(group=made, **{kind: one})
    return made


def maps(group_name: str, role: Role) -> None:
    """Have a group give a role in the organization; in scope."""
    GroupRole.objects.create(group=group_name, role=role)
