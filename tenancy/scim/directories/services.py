"""Writes the directories of an organization and their tokens: added, changed, rotated, revoked, removed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from capsule_cloud.lib import crypto
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Forbidden, Invalid, LimitReached, NotFound
from tenancy.groups import services as groups
from tenancy.key_format import DIRECTORY_PREFIX, HINT_LENGTH, new_secret
from tenancy.models import Membership
from tenancy.names import clean_name
from tenancy.roles import Role, may_grant
from tenancy.scim.models import Directory, DirectoryToken
from tenancy.services import organizations

MOST_DIRECTORIES = 10
MOST_TOKENS = 5  # that are valid at once, of a directory
MAX_OVERLAP = timedelta(days=30)
FIELDS = ("name", "kind", "default_role", "keys_go_to", "is_on")


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. `secret` exists here alone: show it once and forget it."""

    token: DirectoryToken
    secret: str


def target(directory: Directory) -> Target:
    """A directory as an audit target."""
    return Target("directory", str(directory.pk), directory.name)


def add(
    *, actor: Actor, actor_role: Role, name: str, kind: str, default_role: str = Role.VIEWER
) -> tuple[Directory, NewToken]:
    """A directory and its first token. Raises Invalid, Forbidden or LimitReached."""
    name = clean_name(name, "directory")
    _check_kind(kind)
    _check_role(actor_role, "", default_role)
    organizations.locked()
    if Directory.objects.count() >= MOST_DIRECTORIES:
        raise LimitReached(f"There are {MOST_DIRECTORIES} directories: remove one first.")
    added = Directory.objects.create(name=name, kind=kind, default_role=default_role)
    changes = actions.DIRECTORY_ADDED.changed({}, _told(added))
    record(action=actions.DIRECTORY_ADDED, actor=actor, target=target(added), changes=changes)
    return added, add_token(actor=actor, directory_id=added.pk)


def change(
    *,
    actor: Actor,
    actor_role: Role,
    directory_id: UUID,
    name: str,
    kind: str,
    default_role: str,
    keys_go_to: UUID | None,
    is_on: bool,
) -> Directory:
    """Change what a directory is called, whom newcomers are, who gets the keys of leavers, and whether it may write.

    Raises NotFound, Invalid or Forbidden.
    """
    directory = _locked(directory_id)
    _check_kind(kind)
    _check_role(actor_role, directory.default_role, default_role)
    if keys_go_to is not None and not Membership.objects.filter(user_id=keys_go_to).exists():
        raise Invalid("keys_go_to", "Choose a member of the organization.")
    before = _told(directory)
    directory.name = clean_name(name, "directory")
    directory.kind, directory.default_role, directory.is_on = kind, default_role, is_on
    directory.keys_go_to_id = keys_go_to
    changes = actions.DIRECTORY_CHANGED.changed(before, _told(directory))
    if changes:
        directory.save(update_fields=FIELDS)
        record(action=actions.DIRECTORY_CHANGED, actor=actor, target=target(directory), changes=changes)
    return directory


def remove(*, actor: Actor, directory_id: UUID) -> None:
    """Forget a directory, its tokens, what it keeps here and its log; people and their roles stay. Raises NotFound."""
    directory = _locked(directory_id)
    gone, changes = target(directory), actions.DIRECTORY_REMOVED.changed(_told(directory), {})
    groups.forget(source_id=directory.pk)
    directory.delete()
    record(action=actions.DIRECTORY_REMOVED, actor=actor, target=gone, changes=changes)


def add_token(*, actor: Actor, directory_id: UUID, expires_at: datetime | None = None) -> NewToken:
    """One more token. Raises NotFound, Invalid or LimitReached."""
    directory = _locked(directory_id)
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid("expires_at", "Choose an expiry in the future.")
    made = _new_token(directory, expires_at)
    metadata = {"token": made.token.hint, "expires_at": expires_at and expires_at.isoformat()}
    record(action=actions.DIRECTORY_TOKEN_CREATED, actor=actor, target=target(directory), metadata=metadata)
    return made


def rotate_token(*, actor: Actor, directory_id: UUID, token_id: UUID, overlap: timedelta) -> NewToken:
    """Replace a token: both work for the overlap, then the old one ends; the new one has no expiry of its own.

    Raises NotFound, LimitReached, or Invalid for an overlap outside 0 to 30 days.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise Invalid("overlap", "Choose an overlap of 0 seconds to 30 days.")
    directory = _locked(directory_id)
    old = _live_token(directory, token_id)
    ends_at = timezone.now() + overlap
    before = {"expires_at": old.expires_at}
    old.expires_at = min(ends_at, old.expires_at) if old.expires_at else ends_at
    old.save(update_fields=["expires_at"])
    made = _new_token(directory, None)
    record(
        action=actions.DIRECTORY_TOKEN_ROTATED,
        actor=actor,
        target=target(directory),
        metadata={"token": old.hint, "successor": made.token.hint},
        changes=actions.DIRECTORY_TOKEN_ROTATED.changed(before, {"expires_at": old.expires_at}),
    )
    return made


def revoke_token(*, actor: Actor, directory_id: UUID, token_id: UUID) -> None:
    """End a token at once. Raises NotFound."""
    directory = _locked(directory_id)
    token = _live_token(directory, token_id)
    token.revoked_at = timezone.now()
    token.save(update_fields=["revoked_at"])
    metadata = {"token": token.hint}
    record(action=actions.DIRECTORY_TOKEN_REVOKED, actor=actor, target=target(directory), metadata=metadata)


def is_live() -> Q:
    """The condition on tokens that still open something: neither revoked nor expired."""
    return Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))


def _new_token(directory: Directory, expires_at: datetime | None) -> NewToken:
    if DirectoryToken.objects.filter(is_live(), directory=directory).count() >= MOST_TOKENS:
        raise LimitReached(f"This directory has {MOST_TOKENS} tokens: revoke one first.")
    secret = new_secret(DIRECTORY_PREFIX)
    token = DirectoryToken.objects.create(
        directory=directory,
        hint=secret[:HINT_LENGTH],
        digest=crypto.keyed_hash(secret.encode()),
        expires_at=expires_at,
    )
    return NewToken(token, secret)


def _live_token(directory: Directory, token_id: UUID) -> DirectoryToken:
    token = DirectoryToken.objects.filter(is_live(), pk=token_id, directory=directory).first()
    if token is None:
        raise NotFound("There is no such token.")
    return token


def _told(directory: Directory) -> dict[str, object]:
    return {field: getattr(directory, field) for field in FIELDS} | {"keys_go_to": directory.keys_go_to_id}


def _check_kind(kind: str) -> None:
    if kind not in Directory.Kind.values:
        raise Invalid("kind", f"Choose a kind: {', '.join(Directory.Kind.values)}.")


def _check_role(actor_role: Role, before: str, role: str) -> None:
    if role not in Role.values:
        raise Invalid("default_role", f"Choose a role: {', '.join(Role.values)}.")
    if role != before and not may_grant(actor_role, Role(role)):
        raise Forbidden("Only an owner can make newcomers owners.")


def _locked(directory_id: UUID) -> Directory:
    directory = Directory.objects.select_for_update(no_key=True).filter(pk=directory_id).first()
    if directory is None:
        raise NotFound("There is no such directory.")
    return directory
