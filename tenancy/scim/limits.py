"""Counts the requests of each token in a minute, in Valkey; without it everybody is served."""

import logging
import time
from uuid import UUID

from django.conf import settings
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

WINDOW = 60  # seconds
log = logging.getLogger("scim.limits")
# no retries: a request must not wait for a counter
_redis = Redis.from_url(
    settings.CACHE_URL, socket_timeout=0.25, socket_connect_timeout=0.25, retry=Retry(NoBackoff(), 0)
)


def wait_for(token_id: UUID, units: int = 1) -> int:
    """Count `units` requests of a token; 0 where they may be served, else the seconds until they may."""
    now = time.time()
    name = f"scim:{token_id}:{int(now // WINDOW)}"
    try:
        with _redis.pipeline(transaction=False) as pipeline:
            pipeline.incrby(name, units)
            pipeline.expire(name, 2 * WINDOW)
            taken = int(pipeline.execute()[0])
    except RedisError:
        log.exception("scim.uncounted requests are served without being counted")
        return 0
    return 0 if taken <= settings.SCIM_REQUESTS_PER_MINUTE else WINDOW - int(now % WINDOW)
