"""The audit log in a real browser: searched while typing, kept in a dialog, an event opened in place with its proof."""

import pytest
from playwright.sync_api import Browser, expect

from tests.capsule_cloud.web.browser import visit
from tests.factories import Tenant
from tests.live import LiveServer
from tests.sealing import seal_all

DIALOG = "dialog[open]"
WIDER = "one => one.scrollWidth - one.clientWidth"


@pytest.mark.browser
@pytest.mark.usefixtures("may_wait")
def test_a_search_is_typed_and_kept_without_leaving_it(
    live: LiveServer, live_tenant: Tenant, chromium: Browser
) -> None:
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/audit/")
        page.get_by_label("Who", exact=True).fill(live_tenant.owner.email)
        save = page.get_by_role("link", name="Save this search")
        save.click()
        expect(page.get_by_label("Name", exact=True)).to_be_focused()
        page.keyboard.press("Escape")
        expect(save).to_be_focused()
        page.keyboard.press("Enter")
        page.get_by_label("Name", exact=True).fill("What Ada does")
        page.keyboard.press("Enter")
        kept = page.get_by_role("navigation", name="Saved searches")
        expect(kept).to_contain_text("What Ada does")
        kept.get_by_role("link", name="Delete the saved search What Ada does").click()
        page.locator(DIALOG).get_by_role("link", name="Cancel").click()
        expect(kept).to_contain_text("What Ada does")
        assert visitor.complaints == []


@pytest.mark.browser
@pytest.mark.usefixtures("may_wait")
@pytest.mark.parametrize("width", [1280, 390])
def test_everything_about_an_event_fits_into_its_dialog(
    live: LiveServer, live_tenant: Tenant, chromium: Browser, width: int
) -> None:
    seal_all()
    size = {"width": width, "height": 800}
    with visit(chromium, live.url, live_tenant.owner, viewport=size) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/audit/")
        page.locator("#events tbody tr a").last.click()
        dialog = page.locator(DIALOG)
        expect(dialog.get_by_text("Check it yourself")).to_be_visible()
        for fold in dialog.locator("details.fold > summary").all():
            fold.click()
        expect(dialog.get_by_text("The proof and the signed checkpoint", exact=True)).to_be_visible()
        assert dialog.evaluate(WIDER) == 0
        assert visitor.overflow() == 0
        assert visitor.complaints == []
