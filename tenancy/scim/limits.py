"""Counts the requests of each token in a minute."""

import time
from uuid import UUID

from django.conf import settings

from capsule_cloud.lib.windows import WINDOW, Windows

windows = Windows(settings.CACHE_URL)


def wait_for(token_id: UUID) -> int:
    """Count a request of a token; 0 where it may be served, else the seconds until it may."""
    now = time.time()
    _, is_refused = windows.take(token_id, settings.SCIM_REQUESTS_PER_MINUTE, int(now // WINDOW))
    return WINDOW - int(now % WINDOW) if is_refused else 0
