"""Which function answers which of Stripe's operations; each enters itself into the table where it stands."""

import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote_plus

from billing.sandbox.refusals import Refusal

Json = dict[str, Any]
Handler = TypeVar("Handler", bound=Callable[..., Json])
ROUTES: dict[str, Callable[..., Json]] = {}
_patterns: dict[str, re.Pattern[str]] = {}


def answers(*operations: str) -> Callable[[Handler], Handler]:
    """Enter the function for the operations, as in `POST /v1/customers/{customer}`.

    It takes the books, the typed parameters and the path's names, and returns the object to answer with.
    """

    def enter(handler: Handler) -> Handler:
        for operation in operations:
            ROUTES[operation] = handler
            _patterns[operation] = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", operation))
        return handler

    return enter


def find(method: str, path: str) -> tuple[str, dict[str, str]]:
    """The operation of a request and the path's values. Raises Refusal where there is none."""
    wanted = f"{method.upper()} {path}"
    if wanted in ROUTES:
        return wanted, {}
    for operation, pattern in _patterns.items():
        if found := pattern.fullmatch(wanted):
            values = {name: unquote_plus(value) for name, value in found.groupdict().items()}
            if "\0" not in "".join(values.values()):  # PostgreSQL has none
                return operation, values
    raise Refusal(f"Unrecognized request URL ({method.upper()}: {path}).", status=404)
