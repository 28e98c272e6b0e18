"""The document in a real browser, under the console's content policy."""

import pytest
from playwright.sync_api import Browser, ConsoleMessage

from tests.capsule_cloud.web.conftest import chromium
from tests.live import LiveServer

__all__ = ["chromium"]  # the fixture, from the console's tests


@pytest.mark.browser
def test_swagger_ui_shows_both_sets_of_routes_under_our_policy(live: LiveServer, chromium: Browser) -> None:
    page = chromium.new_page()
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    page.on("console", note)
    page.goto(f"{live.url}/docs")
    for path in ("/api/v1/sessions/{session_id}/ingest", "/v1/organization"):
        page.locator(".opblock-summary-path", has_text=path.rpartition("/")[2]).first.wait_for()
    policy = [text for text in complaints if "Content Security Policy" in text]
    page.close()
    assert policy == []
