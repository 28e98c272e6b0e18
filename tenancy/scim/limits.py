"""Counts the requests of each token in a minute, in Valkey; most of them never leave the process."""

import logging
import threading
import time
from uuid import UUID

from django.conf import settings
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

WINDOW = 60  # seconds
MOST_LEASES = 10_000
log = logging.getLogger("scim.limits")
# no retries: a request must not wait for a counter
_redis = Redis.from_url(
    settings.CACHE_URL, socket_timeout=0.25, socket_connect_timeout=0.25, retry=Retry(NoBackoff(), 0)
)
_leases: dict[UUID, tuple[int, int]] = {}  # of a token: the minute, and how many it may still have in this process
_lock = threading.Lock()


def wait_for(token_id: UUID) -> int:
    """Count a request of a token; 0 where it may be served, else the seconds until it may.

    A process takes a hundredth of the limit at once, so that processes together let through no more than the limit.
    Without Valkey everybody is served: being reachable is worth more than being strict.
    """
    now = time.time()
    minute, limit = int(now // WINDOW), settings.SCIM_REQUESTS_PER_MINUTE
    with _lock:
        leased, left = _leases.get(token_id, (minute, 0))
        if leased == minute and left > 0:
            _leases[token_id] = (minute, left - 1)
            return 0
    wanted = max(1, limit // 100)
    try:
        with _redis.pipeline(transaction=False) as pipeline:
            pipeline.incrby(f"scim:{token_id}:{minute}", wanted)
            pipeline.expire(f"scim:{token_id}:{minute}", 2 * WINDOW)
            taken = int(pipeline.execute()[0])
    except RedisError:
        log.exception("scim.uncounted requests are served without being counted")
        return 0
    got = min(wanted, limit - (taken - wanted))
    if got <= 0:
        return WINDOW - int(now % WINDOW)
    with _lock:
        if len(_leases) >= MOST_LEASES:
            _leases.clear()
        _leases[token_id] = (minute, got - 1)
    return 0
