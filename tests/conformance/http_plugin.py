"""Pytest plugin for the engine's REST tests: its application only forwards to our running server, with a key a test.

It runs beside the engine's package `tests`, so it cannot use ours. CAPSULE_URL is the server, CAPSULE_KEYS are keys of
empty projects, separated by commas.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import capsule_memory.server.rest_api
import httpx
import pytest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_keys = iter(os.environ["CAPSULE_KEYS"].split(","))
_own_headers = {b"host", b"content-length", b"connection"}


class Forward:
    """An ASGI application that passes each request on, and brings the answer back as it is."""

    def __init__(self, key: str) -> None:
        self.authorization = f"Bearer {key}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or the start and the end of the server."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        url = f"{os.environ['CAPSULE_URL']}{scope['raw_path'].decode()}?{scope['query_string'].decode()}"
        headers = [(name, value) for name, value in scope["headers"] if name not in _own_headers]
        headers.append((b"authorization", self.authorization))
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.request(scope["method"], url, headers=headers, content=body)
        await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.headers.raw})
        await send({"type": "http.response.body", "body": answer.content})


async def _live(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Every test gets an empty project, as it would get an empty folder."""
    application = Forward(next(_keys))
    for name in ("_build_app", "_ensure_app"):
        setattr(capsule_memory.server.rest_api, name, lambda: application)
