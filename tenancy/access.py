"""Answers who is asking and what they may do: API keys for programs, memberships for people."""

import ipaddress
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from allauth.mfa.utils import is_mfa_enabled

from capsule_cloud.lib import crypto
from tenancy.audit.services import Actor
from tenancy.key_format import is_well_formed
from tenancy.models import User
from tenancy.roles import SCOPE_RIGHTS, KeyScope, Right, Role, rights_in
from tenancy.scope import unscoped

CACHE_SECONDS = 0.5  # what was read is taken for true this long,
STALE_SECONDS = 0.9  # and this long while another thread reads it again: a revoked key is dead within a second
CACHE_SIZE = 10_000
DEAD_CACHE_SECONDS = 60.0


class InvalidKey(Exception):
    """No key, or one that is unknown, malformed, expired or revoked: 401, nobody is told which."""


class ForbiddenAddress(Exception):
    """The key is good but may not be used from this address: 403."""

    def __init__(self, principal: "KeyPrincipal") -> None:
        super().__init__()
        self.principal = principal


@dataclass(frozen=True, slots=True)
class KeyPrincipal:
    """An API key at work: its project, what its scopes allow, limits and plan, as they were less than a second ago.

    A limit that is None is none; without a period, the calendar month in UTC is one.
    """

    key_id: UUID
    organization_id: UUID
    project_id: UUID
    project_slug: str
    name: str
    hint: str
    rights: frozenset[Right]
    key_requests_per_minute: int | None
    organization_requests_per_minute: int
    networks: tuple[Any, ...]
    cors_origins: tuple[str, ...]
    expires_at: datetime | None
    operation_limit: int | None
    stored_byte_limit: int | None
    document_limit: int | None
    end_user_limit: int | None
    features: frozenset[str]
    access: str  # one of Organization.Access
    period_start: datetime | None
    period_end: datetime | None
    caps_version: int
    audit_reads: bool  # the project wants its reads in the trail

    @property
    def actor(self) -> Actor:
        """The key as it is named in the audit trail."""
        return _named(self.key_id, self.name, self.hint)

    def has(self, right: Right) -> bool:
        """Whether one of the key's scopes carries the right."""
        return right in self.rights


@dataclass(frozen=True, slots=True)
class DeadKey:
    """A key that worked once: whose it was, and why it has ended."""

    organization_id: UUID
    actor: Actor
    why: str  # revoked, expired, project_archived or organization_closed


_Read = tuple[float, KeyPrincipal | None]  # when the reading began, and whom the key belongs to
_cache: dict[bytes, _Read] = {}
_being_read: set[bytes] = set()
_dead: dict[bytes, tuple[float, DeadKey | None]] = {}


def authenticate_key(authorization: str, ip: str) -> KeyPrincipal:
    """The principal of an `Authorization: Bearer cmk_…` header (RFC 6750).

    Raises InvalidKey, or ForbiddenAddress when the key has an allow-list that `ip` is not on.
    """
    scheme, _, secret = authorization.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer":
        raise InvalidKey
    digest = crypto.keyed_hash(secret.encode("utf-8", "surrogatepass"))
    now = time.monotonic()
    found = _cache.get(digest)
    if found is None or found[0] + CACHE_SECONDS < now:
        if not is_well_formed(secret):
            raise InvalidKey
        found = _read_again(digest, found, now)
    principal = found[1]
    if principal is None or (principal.expires_at and principal.expires_at <= datetime.now(UTC)):
        raise InvalidKey
    if principal.networks and not _is_within(ip, principal.networks):
        raise ForbiddenAddress(principal)
    return principal


def _read_again(digest: bytes, found: _Read | None, now: float) -> _Read:
    """What the database says, or `found` when it may still serve and another thread is asking already.

    Otherwise every thread of a busy key would ask in the moment when the half second is over.
    """
    if found is not None and now < found[0] + STALE_SECONDS and digest in _being_read:
        return found
    if len(_cache) >= CACHE_SIZE:
        _cache.clear()
    _being_read.add(digest)
    try:
        fresh = _cache[digest] = (now, _find(digest))
    finally:
        _being_read.discard(digest)
    return fresh


def _find(digest: bytes) -> KeyPrincipal | None:
    with unscoped(reason="an API key says which organization is asking") as wide:
        rows = wide.rows("tenancy_find_key_and_its_project", digest)
    if not rows:
        return None
    row = rows[0]
    return KeyPrincipal(
        key_id=row["key_id"],
        organization_id=row["organization_id"],
        project_id=row["project_id"],
        project_slug=row["project_slug"],
        name=row["name"],
        hint=row["hint"],
        rights=frozenset().union(*(SCOPE_RIGHTS[KeyScope(scope)] for scope in row["scopes"])),
        key_requests_per_minute=row["key_requests_per_minute"],
        organization_requests_per_minute=row["organization_requests_per_minute"],
        networks=tuple(ipaddress.ip_network(cidr) for cidr in row["allowed_cidrs"]),
        cors_origins=tuple(row["cors_origins"]),
        expires_at=row["expires_at"],
        operation_limit=row["operation_limit"],
        stored_byte_limit=row["stored_byte_limit"],
        document_limit=row["document_limit"],
        end_user_limit=row["end_user_limit"],
        features=frozenset(row["features"]),
        access=row["access"],
        period_start=row["period_start"],
        period_end=row["period_end"],
        caps_version=row["caps_version"],
        audit_reads=row["audit_reads"],
    )


def dead_key(authorization: str) -> DeadKey | None:
    """Whose key an `Authorization` header has that `authenticate_key` refused; None for one that never was.

    Remembered for a minute: whoever sends the same again asks the database no more often.
    """
    secret = authorization.partition(" ")[2].strip()
    if not is_well_formed(secret):
        return None
    digest, now = crypto.keyed_hash(secret.encode("utf-8", "surrogatepass")), time.monotonic()
    found = _dead.get(digest)
    if found is None or found[0] + DEAD_CACHE_SECONDS < now:
        if len(_dead) >= CACHE_SIZE:
            _dead.clear()
        with unscoped(reason="an organization hears that a key of its that has ended is used") as wide:
            rows = wide.rows("tenancy_dead_key", digest)
        key = DeadKey(**_whose(rows[0])) if rows else None
        found = _dead[digest] = (now, key)
    return found[1]


def _whose(row: dict[str, Any]) -> dict[str, Any]:
    actor = _named(row["key_id"], row["name"], row["hint"])
    return {"organization_id": row["organization_id"], "actor": actor, "why": row["why"]}


def _named(key_id: UUID, name: str, hint: str) -> Actor:
    return Actor("api_key", str(key_id), f"{name} ({hint}…)")


def _is_within(ip: str, networks: tuple[Any, ...]) -> bool:
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    # a socket that speaks both versions shows an IPv4 caller as ::ffff:203.0.113.7
    forms = {address, getattr(address, "ipv4_mapped", None) or address}
    return any(form in network for network in networks for form in forms)


def reset_key_cache() -> None:
    """Forget cached keys in this process, so that a change made here is seen at the next request."""
    _cache.clear()
    _dead.clear()


@dataclass(frozen=True, slots=True)
class MemberPrincipal:
    """A signed-in person in one of their organizations."""

    user_id: UUID
    email: str
    organization_id: UUID
    slug: str
    name: str
    role: Role
    is_mfa_required: bool
    is_sso_required: bool
    closed_at: datetime | None
    project_roles: Mapping[str, Role] = field(default_factory=dict)  # by the project's slug
    project: str | None = None  # the one that they are at
    session_hours: int | None = None  # after which they sign in again to see its pages

    @property
    def actor(self) -> Actor:
        """The person as they are named in the audit trail."""
        return Actor("user", str(self.user_id), self.email)

    @property
    def rights(self) -> frozenset[Right]:
        """What the person's role carries, and their role in the project that they are at."""
        return rights_in(self.role, self.project_roles.get(self.project) if self.project else None)

    def has(self, right: Right) -> bool:
        """Whether the person has the right, where they are."""
        return right in self.rights

    def has_somewhere(self, right: Right) -> bool:
        """Whether the person has the right in the organization or in one of its projects."""
        return any(right in rights_in(self.role, role) for role in (None, *self.project_roles.values()))

    def in_project(self, slug: str) -> "MemberPrincipal":
        """The same person at a project."""
        return replace(self, project=slug)


def memberships(user: User) -> list[MemberPrincipal]:
    """Every organization of a person, by name; closed ones too, so that an owner can restore them."""
    with unscoped(reason="a signed-in person sees the list of their own organizations") as wide:
        return [
            MemberPrincipal(
                user_id=user.pk,
                email=user.email,
                organization_id=row["organization_id"],
                slug=row["slug"],
                name=row["name"],
                role=Role(row["role"]),
                is_mfa_required=row["is_mfa_required"],
                is_sso_required=row["is_sso_required"],
                closed_at=row["closed_at"],
                project_roles={slug: Role(role) for slug, role in json.loads(row["project_roles"]).items()},
                session_hours=row["session_hours"],
            )
            for row in wide.rows("tenancy_memberships", user.pk)
        ]


def lacks_required_mfa(user: User, member: MemberPrincipal) -> bool:
    """Whether the organization demands a second factor that the person has not set up."""
    return member.is_mfa_required and not is_mfa_enabled(user)
