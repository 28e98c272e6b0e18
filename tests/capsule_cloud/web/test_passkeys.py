"""Passkeys (WebAuthn Level 2) in a real browser with a virtual authenticator."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.capsule_cloud.web.browser import visit
from tests.factories import PASSWORD, make_user
from tests.live import LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_wait")]
# Resident keys with user verification: what a phone or a laptop offers as a passkey.
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


def plug_in_authenticator(page: Page) -> None:
    """Give the browser a security key that always agrees."""
    tools = page.context.new_cdp_session(page)
    tools.send("WebAuthn.enable")
    tools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})


def test_a_passkey_is_added_and_opens_the_account_alone(
    live: LiveServer, transactional_db: None, chromium: Browser
) -> None:
    user = make_user()
    base = live.url.replace("127.0.0.1", "localhost")  # an address cannot be a relying party id
    with visit(chromium, base) as visitor:
        page = visitor.go("/account/login/")
        plug_in_authenticator(page)
        page.get_by_label("Email").fill(user.email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.wait_for_url("**/organizations/new/")
        visitor.go("/account/2fa/webauthn/add/")
        page.get_by_label("Password").first.fill(PASSWORD)
        page.get_by_role("button", name="Confirm").first.click()
        page.wait_for_url("**/webauthn/add/**")
        page.get_by_label("Name").fill("Laptop")
        page.get_by_label("Passwordless").check()
        page.get_by_role("button", name="Add", exact=True).click()
        page.wait_for_url("**/account/2fa/recovery-codes/**")  # a first second factor brings recovery codes
        visitor.go("/account/2fa/webauthn/")
        expect(page.get_by_text("Laptop")).to_be_visible()
        page.context.clear_cookies()
        visitor.go("/account/login/")
        page.get_by_role("button", name="Sign in with a passkey").click()
        page.wait_for_url("**/organizations/new/")
        assert visitor.complaints == []
