"""Tells by a bearer token which directory is asking."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from capsule_cloud.lib import crypto
from tenancy.audit.services import Actor
from tenancy.key_format import DIRECTORY_PREFIX, is_well_formed
from tenancy.scim.models import Directory, DirectoryToken
from tenancy.scope import scope, unscoped

NOTED_EVERY = timedelta(minutes=1)  # that a token is used: not with each request


class InvalidToken(Exception):
    """No token, or one that is unknown, malformed, expired, revoked or of a directory that is off: 401, unexplained."""


@dataclass(frozen=True, slots=True)
class DirectoryPrincipal:
    """A directory at work, by one of its tokens."""

    directory_id: UUID
    organization_id: UUID
    token_id: UUID
    name: str
    kind: str
    hint: str

    @property
    def actor(self) -> Actor:
        """The directory as it is named in the audit trail."""
        return Actor("directory", str(self.directory_id), f"{self.name} ({self.hint}…)")


def authenticate(authorization: str) -> DirectoryPrincipal:
    """The principal of an `Authorization: Bearer cms_…` header (RFC 6750). Raises InvalidToken.

    Nothing is remembered between requests: a revoked token is dead at once.
    """
    scheme, _, secret = authorization.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not is_well_formed(secret, DIRECTORY_PREFIX):
        raise InvalidToken
    with unscoped(reason="a directory's token says which organization is asking") as wide:
        rows = wide.rows("scim_find_token", crypto.keyed_hash(secret.encode()))
    if not rows:
        raise InvalidToken
    row, now = rows[0], timezone.now()
    if row["last_used_at"] is None or row["last_used_at"] < now - NOTED_EVERY:
        with scope(row["organization_id"]):
            DirectoryToken.objects.filter(pk=row["token_id"]).update(last_used_at=now)
            Directory.objects.filter(pk=row["directory_id"]).update(last_request_at=now)
    return DirectoryPrincipal(
        directory_id=row["directory_id"],
        organization_id=row["organization_id"],
        token_id=row["token_id"],
        name=row["name"],
        kind=row["kind"],
        hint=row["hint"],
    )
