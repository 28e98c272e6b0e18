"""Fixtures of the streams' tests: a customer's server, and streams that lead there."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tenancy.audit.streams import services
from tenancy.scope import scope
from tenancy.webhooks import delivery
from tests.capsule_cloud.lib.certificates import certificate
from tests.factories import Tenant
from tests.targets import Target

AddStream = Callable[..., services.NewSecret]


@pytest.fixture(autouse=True)
def _hang_up() -> Iterator[None]:
    """Leave no connection open to a server that is gone."""
    yield
    delivery.door().close()
    delivery.door.cache_clear()


@pytest.fixture
def target() -> Iterator[Target]:
    """A customer's server."""
    with Target() as server:
        yield server


@pytest.fixture
def add() -> AddStream:
    """Adds a stream for a tenant, a webhook from the beginning on unless something else is said."""

    def made(tenant: Tenant, **asked: Any) -> services.NewSecret:
        wanted: dict[str, Any] = {"name": "SIEM", "kind": "https", "secrets": {}, "from_beginning": True} | asked
        with scope(tenant.organization):
            return services.create(actor=tenant.actor, **wanted)

    return made


@pytest.fixture
def localhost(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's side of TLS for `localhost`, and the authority that a customer would paste."""
    context, pem = certificate(tmp_path, "localhost")
    return context, pem.decode()
