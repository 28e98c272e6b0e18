"""Counts what somebody takes in a minute against a limit, in Valkey; most of it never leaves the process."""

import logging
import threading
import time
from dataclasses import dataclass
from uuid import UUID

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

WINDOW = 60  # seconds
MOST_LEASES = 10_000
RETRY_BROKER_AFTER = 5.0
log = logging.getLogger("limits")


@dataclass(slots=True)
class Lease:
    """Requests that this process may serve in a window without asking again."""

    window: int
    tokens: int = 0
    taken: int = 0  # by every process, when last asked


class Windows:
    """Fixed windows of a minute. A lease is a hundredth of the limit, so processes together overshoot nothing.

    What is over the limit costs one question to Valkey and is refused. Without Valkey everything is served: being
    reachable is worth more than being strict.
    """

    def __init__(self, url: str) -> None:
        # no retries: a request must not wait for a counter
        self._redis = Redis.from_url(url, socket_timeout=0.25, socket_connect_timeout=0.25, retry=Retry(NoBackoff(), 0))
        self._leases: dict[UUID, Lease] = {}
        self._lock = threading.Lock()
        self._away_until = 0.0

    def take(self, owner: UUID, limit: int, window: int, units: int = 1) -> tuple[int, bool]:
        """Take all units or none in a window (minutes since the epoch): what remains, and whether it was too little."""
        with self._lock:
            lease = self._leases.get(owner)
            if lease is None or lease.window != window:
                if len(self._leases) >= MOST_LEASES:
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
