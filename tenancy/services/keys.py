"""Creates, rotates and revokes API keys of the organization in scope."""

import ipaddress
import secrets
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from capsule_cloud.lib import crypto
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Forbidden, Invalid, LimitReached, NotFound
from tenancy.models import ApiKey, Organization, User
from tenancy.roles import KeyScope, Role, scopes_within
from tenancy.services import projects

PREFIX = "cmk_"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_LENGTH = 32  # 190 bits
CHECKSUM_LENGTH = 6
MAX_OVERLAP = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. `secret` exists here alone: show it once and forget it."""

    key: ApiKey
    secret: str


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes a key: a member with a role, or a key whose child it becomes."""

    actor: Actor
    user: User | None = None
    role: Role | None = None
    parent_id: UUID | None = None


def target(key: ApiKey) -> Target:
    """The key as an audit target; never its secret."""
    return Target("api_key", str(key.pk), f"{key.name} ({key.hint}…)")


def new_secret() -> str:
    """`cmk_`, 32 random characters, 6 of checksum: secret scanners find it and can tell a real one from a look-alike."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return f"{PREFIX}{body}{_checksum(body)}"


def is_well_formed(secret: str) -> bool:
    """Whether prefix, length and checksum (CRC-32 in base 62) fit: no query is spent on anything else."""
    body, checksum = secret[len(PREFIX) : -CHECKSUM_LENGTH], secret[-CHECKSUM_LENGTH:]
    return secret.startswith(PREFIX) and len(body) == RANDOM_LENGTH and _checksum(body) == checksum


def _checksum(body: str) -> str:
    number, text = zlib.crc32(body.encode("utf-8", "surrogatepass")), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        text = ALPHABET[digit] + text
    return text


def create(
    *,
    maker: Maker,
    project_id: UUID,
    name: str,
    scopes: list[str],
    expires_at: datetime | None = None,
    requests_per_minute: int | None = None,
    allowed_cidrs: list[str] | None = None,
) -> NewKey:
    """A key for one project. It never outranks or outlives its maker.

    Raises Invalid, NotFound (project, parent), Forbidden (more than the maker may do) or LimitReached.
    """
    project = projects.find(project_id)
    organization = Organization.objects.select_for_update().get()
    if ApiKey.objects.filter(revoked_at=None).count() >= organization.key_limit:
        raise LimitReached(f"Your plan has {organization.key_limit} keys: revoke one or change the plan.")
    scopes = _clean_scopes(scopes)
    if not 1 <= len(name.strip()) <= 120:
        raise Invalid("name", "Give the key a name of 1 to 120 characters.")
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid("expires_at", "Choose an expiry in the future.")
    if requests_per_minute is not None and not 1 <= requests_per_minute <= 1_000_000:
        raise Invalid("requests_per_minute", "Choose a limit from 1 to 1,000,000 requests a minute.")
    parent = _checked_parent(maker, project_id, scopes, expires_at, requests_per_minute)
    if parent is not None:
        expires_at = expires_at or parent.expires_at
        requests_per_minute = requests_per_minute or parent.requests_per_minute
        allowed_cidrs = allowed_cidrs or parent.allowed_cidrs
    elif maker.role is None or not scopes_within(maker.role, scopes):
        raise Forbidden("A key cannot do more than the person who makes it.")
    secret = new_secret()
    key = ApiKey.objects.create(
        project=project,
        parent=parent,
        created_by=maker.user,
        name=name.strip(),
        hint=secret[: len(PREFIX) + 6],
        digest=crypto.keyed_hash(secret.encode()),
        scopes=scopes,
        expires_at=expires_at,
        requests_per_minute=requests_per_minute,
        allowed_cidrs=[_clean_cidr(cidr) for cidr in allowed_cidrs or []],
    )
    details = {"project": project.slug, "scopes": scopes, "expires_at": expires_at and expires_at.isoformat()}
    record(action=actions.KEY_CREATED, actor=maker.actor, target=target(key), metadata=details)
    return NewKey(key, secret)


def rotate(*, actor: Actor, key_id: UUID, overlap: timedelta) -> NewKey:
    """Replace a key: both work for the overlap, then the old one ends. Its children go over to the new key.

    Raises NotFound, or Invalid for an overlap outside 0 to 30 days.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise Invalid("overlap", "Choose an overlap of 0 seconds to 30 days.")
    old = _live(key_id)
    secret = new_secret()
    new = ApiKey.objects.create(
        project_id=old.project_id,
        parent_id=old.parent_id,
        created_by_id=old.created_by_id,
        name=old.name,
        hint=secret[: len(PREFIX) + 6],
        digest=crypto.keyed_hash(secret.encode()),
        scopes=old.scopes,
        expires_at=old.expires_at,
        requests_per_minute=old.requests_per_minute,
        allowed_cidrs=old.allowed_cidrs,
    )
    ends_at = timezone.now() + overlap
    old.expires_at = min(ends_at, old.expires_at) if old.expires_at else ends_at
    old.successor = new
    old.save(update_fields=["expires_at", "successor"])
    ApiKey.objects.filter(parent=old).update(parent=new)
    record(
        action=actions.KEY_ROTATED,
        actor=actor,
        target=target(old),
        metadata={"successor": new.hint, "old_key_ends_at": old.expires_at.isoformat()},
    )
    return NewKey(new, secret)


def revoke(*, actor: Actor, key_id: UUID) -> int:
    """End a key and every key below it, everywhere within a second; returns how many ended. Raises NotFound."""
    key = _live(key_id)
    ended, generation = 0, [key.pk]
    while generation:
        ended += ApiKey.objects.filter(pk__in=generation, revoked_at=None).update(revoked_at=timezone.now())
        generation = list(ApiKey.objects.filter(parent__in=generation).values_list("pk", flat=True))
    record(action=actions.KEY_REVOKED, actor=actor, target=target(key), metadata={"keys_revoked": ended})
    return ended


def _live(key_id: UUID) -> ApiKey:
    key = ApiKey.objects.select_for_update().filter(pk=key_id, revoked_at=None).first()
    if key is None:
        raise NotFound("There is no such key.")
    return key


def _checked_parent(
    maker: Maker, project_id: UUID, scopes: list[str], expires_at: datetime | None, requests_per_minute: int | None
) -> ApiKey | None:
    if maker.parent_id is None:
        return None
    parent = _live(maker.parent_id)
    if parent.project_id != project_id:
        raise Forbidden("A key makes keys for its own project alone.")
    if not set(scopes) <= set(parent.scopes):
        raise Forbidden("A child key cannot have scopes that its parent lacks.")
    if parent.expires_at and expires_at and expires_at > parent.expires_at:
        raise Forbidden("A child key cannot outlive its parent.")
    if parent.requests_per_minute and (requests_per_minute or 0) > parent.requests_per_minute:
        raise Forbidden("A child key cannot have a higher rate limit than its parent.")
    return parent


def _clean_scopes(scopes: list[str]) -> list[str]:
    unknown = sorted(set(scopes) - set(KeyScope.values))
    if unknown or not scopes:
        raise Invalid("scopes", f"Choose at least one of: {', '.join(KeyScope.values)}.")
    return [scope for scope in KeyScope.values if scope in scopes]


def _clean_cidr(cidr: str) -> str:
    try:
        return str(ipaddress.ip_network(cidr.strip(), strict=False))
    except ValueError:
        raise Invalid("allowed_cidrs", f"{cidr!r} is no address range: write it as 203.0.113.0/24.") from None

