"""A page of another origin calls the API from a real browser."""

from typing import Any

import pytest
from playwright.sync_api import Browser

from tenancy.models import Project
from tenancy.scope import scope
from tests.capsule_cloud.web.conftest import chromium, may_wait
from tests.factories import Tenant, make_tenant
from tests.live import LiveServer

__all__ = ["chromium", "may_wait"]  # fixtures, from the console's tests

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_wait")]
CALL = """async ([url, secret]) => {
    const headers = {Authorization: `Bearer ${secret}`, "Content-Type": "application/json", "Idempotency-Key": "page"};
    const body = JSON.stringify({user_message: "I like tea", assistant_response: "Noted"});
    const answer = await fetch(`${url}/api/v1/sessions/page/ingest`, {method: "POST", headers, body});
    return [answer.status, await answer.json(), answer.headers.get("X-RateLimit-Limit")];
}"""


def test_a_listed_page_calls_the_api_and_another_reads_why_it_may_not(
    live: LiveServer, live_tenant: Tenant, chromium: Browser
) -> None:
    origin = f"http://localhost:{live.port}"  # the same server under another name is another origin
    with scope(live_tenant.organization):
        Project.objects.update(cors_origins=[origin])
    page = chromium.new_page()
    page.goto(f"{origin}/health")

    def call(tenant: Tenant) -> Any:
        return page.evaluate(CALL, [live.url, tenant.secret])

    status, body, limit = call(live_tenant)
    assert (status, body["total_turns"], limit) == (200, 2, "3000")
    status, body, _ = call(make_tenant())
    assert status == 403
    assert "cors_origins" in body["detail"]
    page.close()
