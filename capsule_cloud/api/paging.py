"""Cuts lists into pages: `?cursor=&limit=`, and `next_cursor` until the end."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from capsule_cloud.api.errors import ApiError

DEFAULT_LIMIT, MAX_LIMIT = 50, 200
Row = TypeVar("Row")
PARAMETERS = [
    OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}),
]


def encode(key: UUID) -> str:
    """An opaque cursor: the page after the row with this id."""
    return base64.urlsafe_b64encode(key.bytes).decode().rstrip("=")


def decode(cursor: str) -> UUID:
    """What `encode` made. Raises `invalid_cursor`."""
    try:
        return UUID(bytes=base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        raise ApiError("invalid_cursor") from None


def limit_of(request: Request) -> int:
    """`?limit=`, 1 to MAX_LIMIT. Raises `invalid`."""
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= limit <= MAX_LIMIT:
        message = f"Choose a number from 1 to {MAX_LIMIT}."
        raise ApiError("invalid", f"limit: {message}", errors=[{"field": "limit", "message": message}])
    return limit


def cursor_of(request: Request) -> UUID | None:
    """`?cursor=`, or None on the first page. Raises `invalid_cursor`."""
    text = request.query_params.get("cursor", "")
    return decode(text) if text else None


def page(
    request: Request,
    rows: Iterable[Row],
    key: Callable[[Row], UUID],
    show: Callable[[Row], Any],
    *,
    newest_first: bool = False,
) -> dict[str, Any]:
    """One page of a list whose length the plan bounds, in the order of its time-ordered ids."""
    limit, after = limit_of(request), cursor_of(request)
    ordered = sorted(rows, key=key, reverse=newest_first)
    if after is not None:
        ordered = [row for row in ordered if (key(row) < after if newest_first else key(row) > after)]
    return answer(ordered[: limit + 1], limit, key, show)


def answer(rows: Sequence[Row], limit: int, key: Callable[[Row], UUID], show: Callable[[Row], Any]) -> dict[str, Any]:
    """The body of a page, from one row more than it shows (if there is one)."""
    shown = rows[:limit]
    return {"data": [show(row) for row in shown], "next_cursor": encode(key(shown[-1])) if len(rows) > limit else None}
