"""Lets web pages call the API: preflights are answered without a key, the real request obeys the key's project."""

from collections.abc import Collection

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from capsule_cloud.api.errors import ApiError

METHODS = "GET, POST, PUT, PATCH, DELETE"
HEADERS = "Authorization, Content-Type, Idempotency-Key, MCP-Protocol-Version, X-Passphrase"
EXPOSED = (
    "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, Idempotent-Replayed, "
    "Content-Disposition, X-Capsule-Signature, X-Capsule-Signature-Key, X-Error-Code, "
    "X-Usage-Event, X-Usage-Meter, X-Usage-Quantity, X-Quota-Remaining"
)
MAX_AGE = "600"


def is_preflight(request: HttpRequest) -> bool:
    """Whether a browser asks if it may send a request (it does so without the key)."""
    # META and not `headers`: that mapping costs 60 µs to build, and no hot route needs it
    return request.method == "OPTIONS" and {"HTTP_ORIGIN", "HTTP_ACCESS_CONTROL_REQUEST_METHOD"} <= request.META.keys()


def preflight() -> HttpResponse:
    """Yes, to any origin: nothing is told or done, and what browsers send by themselves (cookies) is never allowed."""
    headers = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": HEADERS,
        "Access-Control-Max-Age": MAX_AGE,
    }
    return HttpResponse(status=204, headers=headers)


def enforce(request: HttpRequest, allowed: Collection[str]) -> None:
    """Raise `origin_not_allowed` when a page of an origin that the project does not list sends the request."""
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None or origin == settings.PUBLIC_URL or origin.lower() in allowed or "*" in allowed:
        return
    raise ApiError("origin_not_allowed", f"Add {origin[:255]!r} to the project's cors_origins to call from there.")


def headers(request: HttpRequest) -> list[tuple[str, str]]:
    """What lets the page read the answer. A refusal too: it says nothing but what to put right."""
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None:
        return [("Vary", "Origin")]
    allowed = origin if origin.isascii() and origin.isprintable() else "null"
    return [
        ("Access-Control-Allow-Origin", allowed),
        ("Access-Control-Expose-Headers", EXPOSED),
        ("Vary", "Origin"),
    ]
