"""Changes what belongs to a person rather than to an organization, and tells each of their organizations."""

from typing import Any

from django.db import transaction

from tenancy.access import memberships
from tenancy.audit import actions
from tenancy.audit.actions import Action
from tenancy.audit.services import Actor, Target, record
from tenancy.models import User
from tenancy.names import clean_name
from tenancy.scope import scope


def rename(*, user: User, name: str) -> User:
    """Give a person another name, by their own hand: it is what members of their organizations see. Raises Invalid."""
    wanted, before = clean_name(name, "account"), user.name
    if wanted != before:
        with transaction.atomic():
            user.name = wanted
            user.save(update_fields=["name"])
            action = actions.ACCOUNT_RENAMED
            changes = action.changed({"name": before}, {"name": wanted})
            tell_organizations(user=user, action=action, changes=changes)
    return user


def person(user: User) -> Target:
    """A person as an audit target."""
    return Target("user", str(user.pk), user.email)


def tell_organizations(
    *,
    user: User,
    action: Action,
    metadata: dict[str, Any] | None = None,
    changes: dict[str, list[Any]] | None = None,
) -> None:
    """Record in every organization of a person what they did with their account."""
    actor, target = Actor("user", str(user.pk), user.email), person(user)
    for member in memberships(user):
        with scope(member.organization_id):
            record(action=action, actor=actor, target=target, metadata=metadata, changes=changes)
