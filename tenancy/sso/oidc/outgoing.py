"""Carries allauth's requests to an OpenID provider through the one door to addresses that customers chose.

A slow provider may hold up a few threads of this process and no more.
"""

import functools
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

import requests
from requests.adapters import BaseAdapter

from capsule_cloud.lib import http

TIMEOUT = 5.0  # seconds, for a whole answer
LARGEST = 256 * 1024
MOST_AT_ONCE = 2  # requests to one provider, of this process
PATIENCE = 1.0  # seconds until one of them has ended
_whose: ContextVar[UUID] = ContextVar("openid_provider")
_busy: Counter[UUID] = Counter()
_freed = threading.Condition()


@functools.cache
def door() -> http.Door:
    """The way out, with its open connections."""
    return http.Door()


@contextmanager
def asking(provider_id: UUID) -> Iterator[None]:
    """Requests inside are this provider's; outside there are none."""
    token = _whose.set(provider_id)
    try:
        yield
    finally:
        _whose.reset(token)


def session() -> requests.Session:
    """What allauth sends its requests by."""
    made = requests.Session()
    made.trust_env = False  # neither proxies nor passwords of this machine
    made.headers.clear()
    made.headers["Accept"] = "application/json"
    made.adapters.clear()
    for scheme in ("https://", "http://"):  # the door knows which of them go where
        made.mount(scheme, DoorAdapter())
    return made


class DoorAdapter(BaseAdapter):
    """Sends by the door; whatever is no whole answer of the address itself is none."""

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float | None, float | None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """The answer. Raises requests.ConnectionError, with a sentence for people."""
        url, body = str(request.url), request.body or b""
        try:
            with _turn(_whose.get()):
                answer = door().send(
                    str(request.method),
                    url,
                    headers={name: str(value) for name, value in request.headers.items()},
                    body=body if isinstance(body, bytes) else str(body).encode(),
                    timeout=TIMEOUT,
                    most=LARGEST,
                )
        except http.HttpError as failure:
            raise requests.ConnectionError(str(failure), request=request) from failure
        if not answer.is_whole:
            raise requests.ConnectionError(f"{url} broke off, or has more than {LARGEST} bytes.", request=request)
        if 300 <= answer.status < 400 or answer.status >= 500:
            raise requests.ConnectionError(f"{url} answered {answer.status}.", request=request)
        response = requests.Response()
        response.request, response.url, response.status_code = request, url, answer.status
        response.headers.update({"Content-Type": "", **dict(answer.headers)})
        response.encoding, response._content = "utf-8", answer.body
        return response

    def close(self) -> None:
        """The door stays open for others."""


@contextmanager
def _turn(provider_id: UUID) -> Iterator[None]:
    with _freed:
        if not _freed.wait_for(lambda: _busy[provider_id] < MOST_AT_ONCE, PATIENCE):
            raise http.Unanswered("timeout", "It takes long to answer others, so that we ask it nothing more.")
        _busy[provider_id] += 1
    try:
        yield
    finally:
        with _freed:
            _busy[provider_id] -= 1
            if not _busy[provider_id]:
                del _busy[provider_id]
            _freed.notify_all()
