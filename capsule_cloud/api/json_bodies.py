"""Reads JSON bodies for every surface: as RFC 8259 has it, and nested no deeper than anything that we take."""

from typing import Any

import orjson

from capsule_cloud.api.errors import ApiError

MAX_DEPTH = 64  # of objects and lists; what we take has five, and Python cannot even print a thousand


def parse_json(body: bytes) -> Any:
    """The body's value. Raises orjson.JSONDecodeError, or `bad_request` when it is nested deeper than MAX_DEPTH."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith("depth limit"):  # orjson's own, 1024
            raise _too_deep() from None
        raise
    # Counting takes a microsecond and settles it for nearly every body; brackets in texts only make us look closer.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_deeper(value):
        raise _too_deep()
    return value


def _is_deeper(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _too_deep() -> ApiError:
    return ApiError("bad_request", f"The JSON is nested deeper than {MAX_DEPTH} levels.")
