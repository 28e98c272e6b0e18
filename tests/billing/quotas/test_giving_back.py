"""A server gives back what it leased, when it is idle and when it ends."""

import subprocess
import sys
import time

import httpx

from billing.quotas.models import Counter
from capsule_cloud.celery import app
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit, used
from tests.billing.quotas.test_idle import leave_idle
from tests.factories import Tenant, make_tenant
from tests.live import ROOT, LiveServer, environment


def comes_to(tenant: Tenant, units: int) -> bool:
    """Whether the counter says so within some seconds."""
    end = time.monotonic() + 20
    while counted(tenant) != units and time.monotonic() < end:
        time.sleep(0.05)
    return counted(tenant) == units


def counted(tenant: Tenant) -> int:
    """What the counter says; 0 where there is none yet."""
    with scope(tenant.organization):
        return sum(Counter.objects.filter(allowance="operations").values_list("used", flat=True))


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


def test_a_worker_that_is_told_to_end_gives_back_what_it_leased(transactional_db: None) -> None:
    tenant = make_tenant()
    leave_idle(tenant, "s")
    limit(tenant, 400_000)
    queue = f"leases-{tenant.organization.pk}"
    command = [sys.executable, "-m", "celery", "--app", "capsule_cloud.celery", "--quiet", "worker", "--queues", queue]
    command += [
        "--pool",
        "threads",
        "--concurrency",
        "2",
        "--without-gossip",
        "--without-mingle",
        "--loglevel",
        "ERROR",
    ]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), start_new_session=True) as worker:
        try:
            app.send_task("quotas.seal_idle_sessions", queue=queue)
            assert comes_to(tenant, 400), "a lease"
            worker.terminate()
            assert worker.wait(20) == 0
        finally:
            worker.kill()
    assert used(tenant) == 1


def _ingest(server: LiveServer, tenant: Tenant) -> None:
    body = {"user_message": "I like tea.", "assistant_response": "Noted."}
    answer = httpx.post(f"{server.url}/api/v1/sessions/s/ingest", json=body, headers=tenant.headers, timeout=60)
    assert answer.status_code == 200
