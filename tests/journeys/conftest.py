"""Fixtures of the journeys: a connection to the live server."""

from collections.abc import Iterator

import httpx
import pytest

from tests.live import LiveServer


@pytest.fixture(scope="session")
def http(live: LiveServer) -> Iterator[httpx.Client]:
    """A client of the live server, without a key."""
    with httpx.Client(base_url=live.url, timeout=60) as client:
        yield client
