"""The document in a real browser, under the console's content policy."""

import pytest
from playwright.sync_api import Browser, ConsoleMessage

from tests.capsule_cloud.web.conftest import chromium
from tests.live import LiveServer

__all__ = ["chromium"]  # the fixture, from the console's tests


@pytest.mark.browser
def test_swagger_ui_shows_both_sets_of_routes_under_our_policy(live: LiveServer, chromium: Browser) -> None:
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    # of a hundred routes and more Swagger UI draws only those in view: a link to one brings it there
    for link, path in (("Sessions/ingest_turn", "/ingest"), ("Organization/get_organization", "/organization")):
        page = chromium.new_page()
        page.on("console", note)
        page.goto(f"{live.url}/docs#/{link}")
        page.locator(".opblock.is-open .opblock-summary-path", has_text=path).wait_for()
        page.close()
    assert [text for text in complaints if "Content Security Policy" in text] == []
