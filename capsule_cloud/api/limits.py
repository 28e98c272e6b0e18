"""Counts requests a minute, for each key and each organization, in Valkey; most requests never leave the process."""

import logging
import threading
import time
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from capsule_cloud.api.errors import ApiError
from tenancy.access import KeyPrincipal

WINDOW = 60  # seconds
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
    remaining: int
    reset: int  # seconds until the next window

    def add_headers(self, response: HttpResponse) -> None:
        """Tell the caller, with every answer."""
        response.headers["X-RateLimit-Limit"] = str(self.limit)
        response.headers["X-RateLimit-Remaining"] = str(max(self.remaining, 0))
        response.headers["X-RateLimit-Reset"] = str(self.reset)


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

    def take(self, principal: KeyPrincipal) -> Allowance:
        """Count one request of a key. The allowance has `remaining` -1 when it is one too many."""
        now = time.time()
        window = int(now // WINDOW)
        reset = WINDOW - int(now % WINDOW)
        own = None
        if principal.key_requests_per_minute is not None:
            limit = principal.key_requests_per_minute
            own = Allowance(limit, self._take(principal.key_id, limit, window), reset)
            if own.remaining < 0:
                return own  # not counted for the organization: one key's excess must not use up the others' share
        limit = principal.organization_requests_per_minute
        shared = Allowance(limit, self._take(principal.organization_id, limit, window), reset)
        return own if own is not None and own.remaining < shared.remaining else shared

    def _take(self, owner: UUID, limit: int, window: int) -> int:
        with self._lock:
            lease = self._leases.get(owner)
            if lease is None or lease.window != window:
                if len(self._leases) >= 10_000:
                    self._leases = {key: held for key, held in self._leases.items() if held.window == window}
                lease = self._leases[owner] = Lease(window)
            if lease.tokens > 0:
                lease.tokens -= 1
                return limit - lease.taken + lease.tokens
        return self._renew(lease, owner, limit)

    def _renew(self, lease: Lease, owner: UUID, limit: int) -> int:
        wanted = max(1, limit // 100)
        taken = self._ask(f"limit:{owner}:{lease.window}", wanted)
        if taken is None:
            return limit
        granted = min(wanted, limit - (taken - wanted))
        if granted < 1:
            return -1
        with self._lock:
            lease.taken = min(taken, limit)
            lease.tokens += granted - 1
            return limit - lease.taken + lease.tokens

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


def refuse(allowance: Allowance) -> ApiError:
    """The 429 for a request over the limit."""
    detail = f"More than {allowance.limit} requests this minute."
    return ApiError("rate_limited", detail, headers={"Retry-After": str(allowance.reset)})
