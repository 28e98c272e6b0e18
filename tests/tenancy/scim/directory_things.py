"""Makes directories, and the users and groups that they bring."""

import uuid
from typing import Any

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.contrib.sessions.backends.db import SessionStore

from tenancy.access import InvalidKey, authenticate_key, reset_key_cache
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import Actor
from tenancy.groups.models import GroupRole
from tenancy.models import ApiKey, Membership, User
from tenancy.roles import Role
from tenancy.scim import provisioning
from tenancy.scim.directories import services, tokens
from tenancy.scim.directories.tokens import DirectoryPrincipal
from tenancy.scim.models import Directory, DirectoryGroup, DirectoryGroupMember, DirectoryUser
from tenancy.scope import scope
from tenancy.services import keys
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


def moved(user: User, domain: str) -> User:
    """The person with an address in the domain."""
    email = user.email.replace("example.com", domain)
    User.objects.filter(pk=user.pk).update(email=email)
    EmailAddress.objects.filter(user=user).update(email=email)
    user.refresh_from_db()
    return user


def said(tenant: Tenant, action: Any) -> list[AuditEvent]:
    """What the trail has of an action, the oldest first."""
    with scope(tenant.organization):
        return list(AuditEvent.objects.filter(action=action.name).order_by("id"))


def withdraw(tenant: Tenant, row: DirectoryUser, who: DirectoryPrincipal) -> None:
    """Deactivate a user of the directory."""
    with scope(tenant.organization):
        row = DirectoryUser.objects.select_related("user", "directory").get(pk=row.pk)
        row.is_active = False
        row.save()
        provisioning.withdraw(row, actor=who.actor)


def provision(tenant: Tenant, row: DirectoryUser, who: DirectoryPrincipal, **more: Any) -> DirectoryUser:
    """Write a user of the directory again, active."""
    with scope(tenant.organization):
        row = DirectoryUser.objects.select_related("user", "directory").get(pk=row.pk)
        for name, value in ({"is_active": True} | more).items():
            setattr(row, name, value)
        row.save()
        provisioning.provision(row, actor=who.actor)
        return row


def key_of(tenant: Tenant, user: User, scopes: list[str] | None = None, parent: ApiKey | None = None) -> keys.NewKey:
    """A key that somebody made."""
    actor = Actor("user", str(user.pk), user.email)
    maker = keys.Maker(actor, user=user, parent_id=parent.pk if parent else None)
    with scope(tenant.organization):
        return keys.create(maker=maker, project_id=tenant.project.pk, name="Work", scopes=scopes or ["memory:read"])


def works(secret: str) -> bool:
    """Whether a key opens anything, asked anew."""
    reset_key_cache()
    try:
        return bool(authenticate_key(f"Bearer {secret}", "127.0.0.1"))
    except InvalidKey:
        return False


def session_of(user: User, opened_by: Tenant | None = None) -> str:
    """A session of somebody, which they or the sign-on of an organization opened."""
    store = SessionStore()
    if opened_by is not None:
        store["sso"] = {"organization": str(opened_by.organization.pk), "provider": str(uuid.uuid4())}
    store.create()
    assert store.session_key
    UserSession.objects.create(user=user, ip="192.0.2.1", session_key=store.session_key, user_agent="Firefox")
    return store.session_key


def is_open(session_key: str) -> bool:
    """Whether a session still stands."""
    return SessionStore().exists(session_key) and UserSession.objects.filter(session_key=session_key).exists()
