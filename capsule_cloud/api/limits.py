"""Counts requests a minute, for each key and each organization."""

import time
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest

from capsule_cloud.api.errors import ApiError
from capsule_cloud.lib.windows import WINDOW, Windows
from tenancy.access import KeyPrincipal

ENCRYPTION_WEIGHT = 30  # requests: a key from a passphrase takes 60 ms of CPU, a recall 2 (docs/performance.md)
THROTTLED_WEIGHT = 20  # requests: what a write counts as past a cap whose owner chose to slow down


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
    """A key's limit, if it has one, and its organization's."""

    def __init__(self, url: str) -> None:
        self._windows = Windows(url)

    def take(self, principal: KeyPrincipal, units: int = 1) -> Allowance:
        """Count `units` requests of a key: all of them, or none, and the allowance is refused."""
        now = time.time()
        window = int(now // WINDOW)
        reset = WINDOW - int(now % WINDOW)
        own = None
        if principal.key_requests_per_minute is not None:
            limit = principal.key_requests_per_minute
            own = Allowance(limit, reset, *self._windows.take(principal.key_id, limit, window, units))
            if own.is_refused:
                return own  # not counted for the organization: one key's excess must not use up the others' share
        limit = principal.organization_requests_per_minute
        shared = Allowance(limit, reset, *self._windows.take(principal.organization_id, limit, window, units))
        return shared if own is None or shared.is_refused or shared.remaining <= own.remaining else own


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
