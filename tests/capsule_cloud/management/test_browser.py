"""The demonstration's browser: forms that work, and reasons for those that do not."""

import uuid

import pytest

from capsule_cloud.management.browser import Browser, PageFailed, name_of
from tests.live import LiveServer


def sign_up(password: str) -> dict[str, str]:
    return {"name": "Ada", "email": f"ada-{uuid.uuid4().hex[:12]}@example.com", "password1": password}


def test_a_form_is_sent_with_its_token_and_leads_on(live: LiveServer) -> None:
    with Browser(live.url) as browser:
        page = browser.submit(
            "/account/signup/", sign_up("a-long-walk-in-May"), arrives_at="account_email_verification_sent"
        )
    assert name_of(page) == "account_email_verification_sent"


def test_a_refused_form_says_what_the_page_says(live: LiveServer) -> None:
    with Browser(live.url) as browser, pytest.raises(PageFailed, match=r"at /account/signup/: .*too short"):
        browser.submit("/account/signup/", sign_up("short"), arrives_at="account_email_verification_sent")


def test_a_page_that_is_not_there_is_named(live: LiveServer) -> None:
    with Browser(live.url) as browser:
        with pytest.raises(PageFailed, match=r"GET /nowhere/ answered 404"):
            browser.open("/nowhere/")
        with pytest.raises(PageFailed, match="has no form"):
            browser.submit("/openapi.json", {}, arrives_at="home")
