"""Webhook pages in a real browser: clean for axe in both themes, whole on a phone, and a test that shows its result."""

import pytest
from playwright.sync_api import Browser, expect

from tenancy.scope import scope
from tenancy.webhooks import catalogue, delivery, events, services
from tenancy.webhooks.models import Delivery, Endpoint
from tests.capsule_cloud.web.browser import visit
from tests.factories import Tenant
from tests.live import LiveServer
from tests.targets import Target, says
from tests.tenancy.webhooks.conftest import _hang_up, happen, make_due, target

__all__ = ["_hang_up", "target"]
pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_wait")]


def make(tenant: Tenant, target: Target) -> list[str]:
    """Endpoints in every state with a log; the paths of their pages."""
    with scope(tenant.organization):
        new = services.create(
            actor=tenant.actor, url=target.url, description="CRM", event_types=["billing.*", "memory.session.sealed"]
        )
        for url in ("https://failing.example.com/hooks/capsule", "https://off.example.com/in"):
            services.create(actor=tenant.actor, url=url)
        services.rotate(actor=tenant.actor, endpoint_id=new.endpoint.pk)
        events.emit(catalogue.PLAN_CHANGED, data={"before": "free", "after": "pro"}, key="plan")
    happen(tenant, 3)
    delivery.deliver()
    target.behaviour = says(503, b'{"error": "maintenance"}', Content_Type="application/json")
    happen(tenant, 2, "late")
    for _ in range(2):
        make_due(tenant)
        delivery.deliver()
    with scope(tenant.organization):
        paused, disabled = Endpoint.objects.filter(url__startswith="https://").order_by("url")
        why = "Nothing arrived since 28 Nov 2026, 12:00 UTC, in 61 rounds of attempts."
        Endpoint.objects.filter(pk=paused.pk).update(state="paused", state_reason=why)
        services.disable(actor=tenant.actor, endpoint_id=disabled.pk)
        failed = Delivery.objects.filter(endpoint=new.endpoint, last_status=503).latest("id")
    main = f"webhooks/{new.endpoint.pk}/"
    return [
        *("webhooks/", "webhooks/new/", main, f"{main}edit/", f"{main}secret/", f"{main}rotate/", f"{main}replay/"),
        *(f"{main}delete/", f"webhooks/{paused.pk}/", f"webhooks/{disabled.pk}/", f"{main}?state=dead"),
        f"webhooks/deliveries/{failed.pk}/",
    ]


def test_pages_have_no_serious_violation_and_fit_on_a_phone(
    live: LiveServer, live_tenant: Tenant, chromium: Browser, target: Target
) -> None:
    home = f"/o/{live_tenant.organization.slug}/"
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        visitor.go(f"{home}webhooks/")  # the empty page
        assert visitor.serious_violations() == []
        for path in make(live_tenant, target):
            page = visitor.go(home + path)
            for fold in page.locator("details.fold").all():
                fold.evaluate("it => it.open = true")
            assert visitor.serious_violations() == []
            page.set_viewport_size({"width": 390, "height": 844})
            assert visitor.overflow() <= 0, page.url
            page.set_viewport_size({"width": 1360, "height": 850})
        assert visitor.complaints == []


def test_a_test_event_shows_its_result_by_itself(
    live: LiveServer, live_tenant: Tenant, chromium: Browser, target: Target
) -> None:
    home = f"/o/{live_tenant.organization.slug}/"
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"{home}webhooks/")
        page.get_by_role("link", name="Add endpoint").click()
        page.get_by_label("Address").fill(target.url)
        page.get_by_role("button", name="Add endpoint").click()
        expect(page.locator("#secret")).to_contain_text("whsec_")
        page.get_by_role("link", name="I have stored it").click()
        page.get_by_role("button", name="Send a test event").click()
        expect(page.get_by_text("on its way", exact=False).first).to_be_visible()
        delivery.deliver()
        expect(page.get_by_text("Answered 200.")).to_be_visible()
        expect(page.get_by_text("delivered", exact=True)).to_be_visible()
        assert visitor.complaints == []
