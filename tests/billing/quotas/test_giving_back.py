"""A server gives back what it leased, when it is idle and when it ends."""

import time

import httpx

from tests.billing.quotas.conftest import limit, used
from tests.factories import Tenant, make_tenant
from tests.live import LiveServer


def comes_to(tenant: Tenant, units: int) -> bool:
    """Whether the counter says so within some seconds."""
    end = time.monotonic() + 20
    while used(tenant) != units and time.monotonic() < end:
        time.sleep(0.05)
    return used(tenant) == units


def test_an_idle_server_and_one_that_ends_give_back_what_they_leased(transactional_db: None) -> None:
    tenant = make_tenant()
    limit(tenant, 400_000)
    with LiveServer(workers=1) as server:
        for _ in range(3):
            _ingest(server, tenant)
        assert used(tenant) == 400, "a lease"
        assert comes_to(tenant, 3), "idle"
        _ingest(server, tenant)
        assert used(tenant) == 403
    assert comes_to(tenant, 4), "ended"


def _ingest(server: LiveServer, tenant: Tenant) -> None:
    body = {"user_message": "I like tea.", "assistant_response": "Noted."}
    answer = httpx.post(f"{server.url}/api/v1/sessions/s/ingest", json=body, headers=tenant.headers, timeout=60)
    assert answer.status_code == 200
