"""Brings people's places in the organization in scope in line with what a directory says of them.

Call it in the transaction that writes the rows: all of it happens, or nothing.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection

from tenancy.audit import actions
from tenancy.audit.attempts.services import attempt
from tenancy.audit.services import Actor, record
from tenancy.errors import Conflict
from tenancy.groups import services as groups
from tenancy.models import Membership, User
from tenancy.names import printable
from tenancy.roles import Role
from tenancy.scim.directories.tokens import DirectoryPrincipal
from tenancy.scim.models import Directory, DirectoryUser
from tenancy.services import leavers, members
from tenancy.services.accounts import person
from tenancy.sso import people
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.sessions import end_sessions_in

LONGEST_EMAIL = 254  # RFC 5321
REMEDIES = {
    "no_email": "Send the person's work address in `emails`, or as the `userName`.",
    "foreign_domain": "Verify the domain under Single sign-on → Domains, or give them an address in one.",
    "inactive_person": "The account is switched off: ask our support.",
    "staff_account": "The address belongs to somebody who works for us: leave it out of the directory's assignment.",
    "taken": "Two users of this directory have one address: remove one of them, or correct its address.",
}


class NotAdopted(Conflict):
    """Nobody may become a member by what the directory says: 409. `reason` is one of REMEDIES."""

    code = "not_adopted"

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(f"{sentence} {REMEDIES[reason]}")
        self.reason = reason


class LastOwnerStays(members.LastOwner):
    """The directory would lock the organization out: 409. Pass it to `refused`."""

    def __init__(self, user: User) -> None:
        super().__init__(
            f"{user.email} is the organization's last owner and stays: make somebody else an owner first, "
            "then deactivate them again."
        )
        self.user = user


def address_of(user_name: str, data: Mapping[str, Any]) -> str:
    """The address that a user resource gives somebody, in small letters; '' where there is none.

    Of several e-mails the primary one, else the first of type `work`, else the first; without any, a userName that
    is an address.
    """
    emails = [one for one in data.get("emails") or () if isinstance(one, Mapping) and isinstance(one.get("value"), str)]
    emails.sort(key=lambda one: (one.get("primary") is not True, one.get("type") != "work"))
    email = (emails[0]["value"] if emails else user_name).strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        return ""
    return email if email.count("@") == 1 and len(email) <= LONGEST_EMAIL else ""


def provision(directory_user: DirectoryUser, *, actor: Actor) -> None:
    """Make whom an active row names a member, with the role that they had before or the directory's; again and again.

    A row that is not active is withdrawn instead. A person is found by the row; a new row finds or makes the account
    of its address, if that is in a domain of the organization. What is linked stays linked whatever the address
    becomes. Raises NotAdopted, LastOwnerStays or LimitReached.
    """
    if not directory_user.is_active:
        withdraw(directory_user, actor=actor)
        return
    user = directory_user.user
    if user is not None and Membership.objects.filter(user=user).exists():
        return
    try:
        if user is None:
            user = _adopt(directory_user, actor)
        else:
            people.check_domain(user.email)
            people.check_account(user)
    except Refused as refusal:
        raise NotAdopted(refusal.code, f"{refusal} {refusal.detail}".strip()) from None
    members.join(user=user, role=directory_user.last_role or directory_user.directory.default_role, actor=actor)
    groups_changed([directory_user], actor=actor)


def withdraw(directory_user: DirectoryUser, *, actor: Actor) -> None:
    """End what somebody has here: membership, invitations, sessions that the organization's sign-on opened, API keys.

    For `active: false`, a DELETE, or whoever falls out of what the directory assigns. Keys that they made go to the
    directory's heir, or end with all below them. The row remembers their role; secrets do not come back. Their own
    sessions and other organizations stay. Raises LastOwnerStays: nobody is locked out.
    """
    user = directory_user.user
    if user is None:
        return
    groups.forget(source_id=directory_user.directory_id, user=user)
    ended = end_sessions_in(directory_user.organization_id, user)
    if not Membership.objects.filter(user=user).exists():
        leavers.void_invitations(actor=actor, email=user.email)
        return
    heir_id = directory_user.directory.keys_go_to_id
    try:
        directory_user.last_role = leavers.withdraw(actor=actor, user=user, heir_id=heir_id, sessions_ended=ended)
    except members.LastOwner:
        raise LastOwnerStays(user) from None
    directory_user.save(update_fields=["last_role"])


def refused(principal: DirectoryPrincipal, failure: Exception) -> None:
    """Tell the organization of a last owner who was to be withdrawn; call it when the transaction is over."""
    if isinstance(failure, LastOwnerStays):
        attempt(
            organization_id=principal.organization_id,
            action=actions.LAST_OWNER_KEPT,
            actor=principal.actor,
            target=person(failure.user),
        )


def groups_changed(directory_users: Iterable[DirectoryUser], *, actor: Actor) -> None:
    """Give these people the roles that their groups map to, nested groups included; call it once for all of a change.

    Whoever has no account here is passed over.
    """
    linked = [(one, user) for one in directory_users if one.is_active and (user := one.user) is not None]
    if not linked:
        return
    directories: dict[UUID, Directory] = {}
    names = groups_of([one.pk for one, _ in linked])
    for one, user in linked:
        directory = directories.setdefault(one.directory_id, one.directory)
        groups.remember(
            user=user,
            source_id=directory.pk,
            source_name=directory.name,
            groups=names.get(one.pk, []),
            default_role=Role(directory.default_role),
        )
    groups.apply_all(actor=actor, users=[user for _, user in linked])


def groups_of(user_ids: Collection[UUID]) -> dict[UUID, list[str]]:
    """The names of the groups that users of directories are in, also through groups in groups; one query."""
    with connection.cursor() as cursor:
        cursor.execute(_GROUPS, [list(user_ids)])
        return dict(cursor.fetchall())


_GROUPS = """
    WITH RECURSIVE within(user_id, group_id) AS (
        SELECT m.user_id, m.group_id FROM scim_directorygroupmember m WHERE m.user_id = ANY(%s)
        UNION SELECT w.user_id, m.group_id FROM within w JOIN scim_directorygroupmember m ON m.subgroup_id = w.group_id
    )
    SELECT w.user_id, array_agg(g.display_name::text ORDER BY g.display_name)
    FROM within w JOIN scim_directorygroup g ON g.id = w.group_id GROUP BY w.user_id
"""


def _adopt(directory_user: DirectoryUser, actor: Actor) -> User:
    if not directory_user.email:
        raise NotAdopted("no_email", f"{directory_user.user_name} has no e-mail address.")
    user, is_new = people.adopt(email=directory_user.email, name=_name(directory_user.data))
    # nobody else writes meanwhile, so looking first is enough
    if not is_new and DirectoryUser.objects.filter(directory_id=directory_user.directory_id, user=user).exists():
        raise NotAdopted("taken", f"{user.email} is another user of this directory already.")
    directory_user.user = user
    directory_user.save(update_fields=["user"])
    record(action=actions.PERSON_LINKED, actor=actor, target=person(user), metadata={"is_new_account": is_new})
    return user


def _name(data: Mapping[str, Any]) -> str:
    name = data.get("name")
    parts = name if isinstance(name, Mapping) else {}
    full = " ".join(one for part in ("givenName", "familyName") if isinstance(one := parts.get(part), str))
    found = data.get("displayName") or parts.get("formatted") or full
    text = found if isinstance(found, str) else ""
    return printable(text).strip()[:120]
