"""Creates, rotates and revokes API keys of the organization in scope."""

import ipaddress
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from capsule_cloud.lib import crypto
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound
from tenancy.key_format import HINT_LENGTH, new_secret
from tenancy.models import ApiKey, Membership, ProjectRole, User
from tenancy.names import clean_name
from tenancy.roles import RIGHTS, KeyScope, Right, Role, rights_in, scopes_within
from tenancy.services import organizations, projects
from tenancy.webhooks import catalogue
from tenancy.webhooks.events import emit

MAX_OVERLAP = timedelta(days=30)
MAX_CIDRS = 100


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. `secret` exists here alone: show it once and forget it."""

    key: ApiKey
    secret: str


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes a key: a person, a rank, or a key whose child it becomes; the new key stays within each that is given.

    `user` must be a member at that moment, and may what their roles in the organization and the project let them.
    """

    actor: Actor
    user: User | None = None
    role: Role | None = None
    parent_id: UUID | None = None


def target(key: ApiKey) -> Target:
    """The key as an audit target; never its secret."""
    return Target("api_key", str(key.pk), f"{key.name} ({key.hint}…)")


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
    # the lock orders this with the removal of members and the end of projects: no key slips in behind either
    organization = organizations.locked()
    project = projects.find(project_id)
    if ApiKey.objects.filter(is_live()).count() >= organization.key_limit:
        raise LimitReached(f"Your plan has {organization.key_limit} keys: revoke one or change the plan.")
    name = clean_name(name, "key")
    scopes = _clean_scopes(scopes)
    cidrs = _clean_cidrs(allowed_cidrs or [])
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid("expires_at", "Choose an expiry in the future.")
    if requests_per_minute is not None and not 1 <= requests_per_minute <= 1_000_000:
        raise Invalid("requests_per_minute", "Choose a limit from 1 to 1,000,000 requests a minute.")
    _check_rank(maker, scopes, project_id)
    parent = None
    if maker.parent_id is not None:
        parent = _live(maker.parent_id)
        if parent.project_id != project_id:
            raise Forbidden("A key makes keys for its own project alone.")
        check_bounds(
            parent, scopes, expires_at=expires_at, requests_per_minute=requests_per_minute, allowed_cidrs=cidrs
        )
        expires_at = expires_at or parent.expires_at
        requests_per_minute = requests_per_minute or parent.requests_per_minute
        cidrs = cidrs or parent.allowed_cidrs
    secret = new_secret()
    key = ApiKey.objects.create(
        project=project,
        parent=parent,
        created_by=maker.user,
        name=name,
        hint=secret[:HINT_LENGTH],
        digest=crypto.keyed_hash(secret.encode()),
        scopes=scopes,
        expires_at=expires_at,
        requests_per_minute=requests_per_minute,
        allowed_cidrs=cidrs,
    )
    details = {
        "project": project.slug,
        "scopes": scopes,
        "expires_at": expires_at and expires_at.isoformat(),
        "requests_per_minute": requests_per_minute,
        "allowed_cidrs": cidrs,
    }
    record(action=actions.KEY_CREATED, actor=maker.actor, target=target(key), metadata=details)
    _tell_new(key)
    return NewKey(key, secret)


def rotate(*, actor: Actor, key_id: UUID, overlap: timedelta) -> NewKey:
    """Replace a key: both work for the overlap, then the old one ends. Its children go over to the new key.

    The answer holds the new secret, so that nobody gets a key by it that they could not make: a member only one within
    their role, a key only itself and what is below it. The new key belongs to the member who rotates.
    Raises NotFound, Forbidden, Conflict (rotated before), or Invalid for an overlap outside 0 to 30 days.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise Invalid("overlap", "Choose an overlap of 0 seconds to 30 days.")
    organizations.locked()
    old = _live(key_id)
    _check_reach(actor, old)
    if old.successor_id is not None:
        raise Conflict("This key is rotated already: rotate its successor.")
    holder_id = old.created_by_id
    if actor.kind == "user":
        holder_id = UUID(actor.id)
        if not scopes_within(_rights_of(holder_id, old.project_id), old.scopes):
            raise Forbidden("This key can do more than you can: ask somebody who may do all of it to rotate it.")
    secret = new_secret()
    new = ApiKey.objects.create(
        project_id=old.project_id,
        parent_id=old.parent_id,
        created_by_id=holder_id,
        name=old.name,
        hint=secret[:HINT_LENGTH],
        digest=crypto.keyed_hash(secret.encode()),
        scopes=old.scopes,
        expires_at=old.expires_at,
        requests_per_minute=old.requests_per_minute,
        allowed_cidrs=old.allowed_cidrs,
    )
    ends_at = timezone.now() + overlap
    before = {"expires_at": old.expires_at, "secret": old.hint}
    old.expires_at = min(ends_at, old.expires_at) if old.expires_at else ends_at
    old.successor = new
    old.save(update_fields=["expires_at", "successor"])
    ApiKey.objects.filter(parent=old).update(parent=new)
    record(
        action=actions.KEY_ROTATED,
        actor=actor,
        target=target(old),
        metadata={"successor": new.hint},
        changes=actions.KEY_ROTATED.changed(before, {"expires_at": old.expires_at, "secret": new.hint}),
    )
    _tell_new(new)
    return NewKey(new, secret)


def revoke(*, actor: Actor, key_id: UUID) -> int:
    """End a key and every key below it, everywhere within a second; returns how many ended.

    Raises NotFound, also when a key asks for one that is neither itself nor below it.
    """
    organizations.locked()  # two that end overlapping families of keys would wait for each other
    key = ApiKey.objects.filter(pk=key_id, revoked_at=None).first()
    if key is None:
        raise NotFound("There is no such key.")
    _check_reach(actor, key)
    ended = end_keys([key.pk])
    record(action=actions.KEY_REVOKED, actor=actor, target=target(key), metadata={"keys_revoked": ended})
    told = {"key_id": key.pk, "hint": key.hint, "keys_revoked": ended}
    emit(catalogue.KEY_REVOKED, data=told, key=f"key-revoked:{key.pk}", project_id=key.project_id)
    return ended


def _tell_new(key: ApiKey) -> None:
    told = {"key_id": key.pk, "hint": key.hint, "scopes": key.scopes}
    emit(catalogue.KEY_CREATED, data=told, key=f"key-created:{key.pk}", project_id=key.project_id)


def end_keys(key_ids: Iterable[UUID]) -> int:
    """Revoke these keys and every key below them; returns how many ended. The caller records why."""
    ending = with_those_below(key_ids)
    return ApiKey.objects.filter(pk__in=ending, revoked_at=None).update(revoked_at=timezone.now())


def with_those_below(key_ids: Iterable[UUID]) -> set[UUID]:
    """These keys and every key below them."""
    found: set[UUID] = set()
    generation = set(key_ids)
    while generation:
        found |= generation
        generation = set(ApiKey.objects.filter(parent__in=generation).values_list("pk", flat=True))
    return found


def end_outranked(user_id: UUID) -> int:
    """Revoke what a member made that does more than they may now, and what is below it; returns how many ended."""
    return end_outranked_of([user_id]).get(user_id, 0)


def end_outranked_of(user_ids: Collection[UUID]) -> dict[UUID, int]:
    """The same for several members: how many ended of each that had any. The caller records why."""
    own = dict(Membership.objects.filter(user_id__in=user_ids).values_list("user_id", "role"))
    rows = ProjectRole.objects.filter(membership__user_id__in=user_ids)
    in_projects = {
        (user_id, project_id): Role(role)
        for user_id, project_id, role in rows.values_list("membership__user_id", "project_id", "role")
    }
    outranked: dict[UUID, list[UUID]] = {}
    held = ApiKey.objects.filter(created_by__in=user_ids, revoked_at=None)
    for key_id, user_id, project_id, scopes in held.values_list("id", "created_by_id", "project_id", "scopes"):
        if not scopes_within(rights_in(Role(own[user_id]), in_projects.get((user_id, project_id))), scopes):
            outranked.setdefault(user_id, []).append(key_id)
    return {user_id: end_keys(key_ids) for user_id, key_ids in outranked.items()}


def is_live() -> Q:
    """The condition on keys that can still be used: neither revoked nor expired."""
    return Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))


def check_bounds(
    key: ApiKey,
    scopes: Sequence[str],
    *,
    expires_at: datetime | None,
    requests_per_minute: int | None,
    allowed_cidrs: Sequence[str],
) -> None:
    """Raise Forbidden when a key like this would outrank or outlive `key`; None and nothing mean: as `key`'s.

    Raises Invalid for what is no address range.
    """
    if not set(scopes) <= set(key.scopes):
        raise Forbidden("A key cannot make one with scopes that it lacks.")
    if key.expires_at and expires_at and expires_at > key.expires_at:
        raise Forbidden("A key cannot make one that outlives it.")
    if key.requests_per_minute and (requests_per_minute or 0) > key.requests_per_minute:
        raise Forbidden("A key cannot make one with a higher rate limit.")
    own = [ipaddress.ip_network(cidr) for cidr in key.allowed_cidrs]
    for network in map(ipaddress.ip_network, _clean_cidrs(list(allowed_cidrs))):
        if own and not any(_is_inside(network, bound) for bound in own):
            raise Forbidden("A key cannot make one for addresses that it may not be used from.")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _is_inside(network: Network, bound: Network) -> bool:
    return network.version == bound.version and network.subnet_of(bound)  # type: ignore[arg-type]  # same version


def _live(key_id: UUID) -> ApiKey:
    key = ApiKey.objects.select_for_update(no_key=True).filter(is_live(), pk=key_id).first()
    if key is None:
        raise NotFound("There is no such key.")
    return key


def roles_of(user_id: UUID) -> tuple[dict[UUID, Role], Role]:
    """The roles that a person has now in projects and in the organization, whatever they were when the request came."""
    membership = Membership.objects.filter(user_id=user_id).first()
    if membership is None:
        raise Forbidden("Only members can hold keys.")
    rows = ProjectRole.objects.filter(membership=membership)
    return {row.project_id: Role(row.role) for row in rows}, Role(membership.role)


def _rights_of(user_id: UUID, project_id: UUID) -> frozenset[Right]:
    roles, own = roles_of(user_id)
    return rights_in(own, roles.get(project_id))


def _check_rank(maker: Maker, scopes: list[str], project_id: UUID) -> None:
    ranks = [] if maker.role is None else [RIGHTS[maker.role]]
    if maker.user is not None:
        ranks.append(_rights_of(maker.user.pk, project_id))
    is_below = maker.parent_id is not None or bool(ranks)
    if not is_below or not all(scopes_within(rank, scopes) for rank in ranks):
        raise Forbidden("A key cannot do more than the person who makes it.")


def _check_reach(actor: Actor, key: ApiKey) -> None:
    """A key manages itself and the keys below it; people and the system manage all. Raises NotFound."""
    if actor.kind != "api_key":
        return
    own_id, at = UUID(actor.id), key
    while at.pk != own_id:
        if at.parent is None:
            raise NotFound("There is no such key.")
        at = at.parent


def _clean_scopes(scopes: list[str]) -> list[str]:
    unknown = sorted(set(scopes) - set(KeyScope.values))
    if unknown or not scopes:
        raise Invalid("scopes", f"Choose at least one of: {', '.join(KeyScope.values)}.")
    return [scope for scope in KeyScope.values if scope in scopes]


def _clean_cidrs(cidrs: list[str]) -> list[str]:
    if len(cidrs) > MAX_CIDRS:
        raise Invalid("allowed_cidrs", f"Give at most {MAX_CIDRS} address ranges.")
    return list(dict.fromkeys(_clean_cidr(cidr) for cidr in cidrs))


def _clean_cidr(cidr: str) -> str:
    try:
        network = ipaddress.ip_network(cidr.strip(), strict=False)
    except ValueError:
        network = None
    if network is None or "%" in cidr:  # a zone names a network card of one machine
        raise Invalid("allowed_cidrs", f"{cidr!r} is no address range: write it as 203.0.113.0/24.")
    return str(network)
