"""Counts requests a minute, for each key and each organization, in Valkey; most requests never leave the process."""

import logging
import threading
import time
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from capsule_cloud.api.errors import ApiError
from tenancy.access import KeyPrincipal

WINDOW = 60  # seconds
ENCRYPTION_WEIGHT = 30  # requests: a key from a passphrase takes 60 ms of CPU, a recall 2 (docs/performance.md)
THROTTLED_WEIGHT = 20  # requests: what a write counts as past a cap whose owner chose to slow down
RETRY_BROKER_AFTER = 5.0
log = logging.getLogger("api.limits")


@dataclass(slots=True)
class Lease:
    """Requests that this process may serve in a window without asking again."""

    window: int
    tokens: int = 0
    taken: int = 0  # by every process, when last asked


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left this minute, of the tighter of the two limits."""

    limit: int
    reset: int  # seconds until the next window
    remaining: int
    is_refused: bool  # less remains than was asked for

    def headers(self) -> list[tuple[str, str]]:
        """What every answer tells the caller."""
        return [
            ("X-RateLimit-Limit", str(self.limit)),
            ("X-RateLimit-Remaining", str(self.remaining)),
            ("X-RateLimit-Reset", str(self.reset)),
        ]


class Limiter:
    """Fixed windows of a minute. A lease is a hundredth of the limit, so processes together overshoot nothing.

    A request over the limit costs one question to Valkey and is refused. Without Valkey everything is served: being
    reachable is worth more than being strict.
    """

    def __init__(self, url: str) -> None:
        # no retries: a request must not wait for a counter
        self._redis = Redis.from_url(url, socket_timeout=0.25, socket_connect_timeout=0.25, retry=Retry(NoBackoff(), 0))
        self._leases: dict[UUID, Lease] = {}
        self._lock = threading.Lock()
        self._away_until = 0.0

    def take(self, principal: KeyPrincipal, units: int = 1) -> Allowance:
        """Count `units` requests of a key: all of them, or none, and the allowance is refused."""
        now = time.time()
        window = int(now // WINDOW)
        reset = WINDOW - int(now % WINDOW)
        own = None
        if principal.key_requests_per_minute is not None:
            limit = principal.key_requests_per_minute
            own = Allowance(limit, reset, *self._take(principal.key_id, limit, window, units))
            if own.is_refused:
                return own  # not counted for the organization: one key's excess must not use up the others' share
        limit = principal.organization_requests_per_minute
        shared = Allowance(limit, reset, *self._take(principal.organization_id, limit, window, units))
        return shared if own is None or shared.is_refused or shared.remaining <= own.remaining else own

    def _take(self, owner: UUID, limit: int, window: int, units: int) -> tuple[int, bool]:
        """What remains, and whether it was too little."""
        with self._lock:
            lease = self._leases.get(owner)
            if lease is None or lease.window != window:
                if len(self._leases) >= 10_000:
                    self._leases = {key: held for key, held in self._leases.items() if held.window == window}
                lease = self._leases[owner] = Lease(window)
            if lease.tokens >= units:
                lease.tokens -= units
                return limit - lease.taken + lease.tokens, False
        return self._renew(lease, owner, limit, units)

    def _renew(self, lease: Lease, owner: UUID, limit: int, units: int) -> tuple[int, bool]:
        wanted = max(units, limit // 100)
        taken = self._ask(f"limit:{owner}:{lease.window}", wanted)
        if taken is None:
            return limit, False
        with self._lock:
            lease.taken = min(taken, limit)
            lease.tokens += max(0, min(wanted, limit - (taken - wanted)))
            is_refused = lease.tokens < units  # what there is stays here, for smaller requests
            if not is_refused:
                lease.tokens -= units
            return limit - lease.taken + lease.tokens, is_refused

    def _ask(self, name: str, amount: int) -> int | None:
        if time.monotonic() < self._away_until:
            return None
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.incrby(name, amount)
                pipeline.expire(name, 2 * WINDOW)
                taken = int(pipeline.execute()[0])
        except RedisError:
            if not self._away_until:
                log.exception("limits.unavailable requests are served uncounted")
            self._away_until = time.monotonic() + RETRY_BROKER_AFTER
            return None
        if self._away_until:
            log.warning("limits.available requests are counted again")
            self._away_until = 0.0
        return taken


limiter = Limiter(settings.CACHE_URL)


def count(request: HttpRequest, principal: KeyPrincipal, units: int = 1) -> None:
    """Count a request as `units` (more). Raises `rate_limited`; `allowance_of` tells what is left either way."""
    allowance = limiter.take(principal, units)
    request.api_allowance = allowance  # type: ignore[attr-defined]  # read by `allowance_of` alone
    if allowance.is_refused:
        words = f"More than {allowance.limit} requests this minute."
        if units > 1:
            words = f"This counts as {units} requests more, and {allowance.remaining} remain this minute."
        raise ApiError("rate_limited", words, headers={"Retry-After": str(allowance.reset)})


def weigh(request: HttpRequest, principal: KeyPrincipal, weight: int) -> None:
    """Count a request, which the door has counted once, as `weight` requests. Raises `rate_limited`.

    Where the limit is smaller than that, it takes a whole minute's.
    """
    least = min(principal.key_requests_per_minute or weight, principal.organization_requests_per_minute, weight)
    count(request, principal, least - 1)


def allowance_of(request: HttpRequest) -> Allowance | None:
    """What is left after this request; None when nobody was let in."""
    return getattr(request, "api_allowance", None)
