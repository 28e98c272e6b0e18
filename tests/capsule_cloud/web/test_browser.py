"""The console in a real browser: the newcomer's path, themes, widths, keyboard, and no script at all."""

import re
import uuid
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tenancy.key_format import is_well_formed
from tests.capsule_cloud.web.browser import mailed_code, mailed_link, visit
from tests.capsule_cloud.web.test_memory import remember
from tests.capsule_cloud.web.test_sessions import converse
from tests.factories import PASSWORD, Tenant
from tests.live import LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_wait")]
PHONE = {"width": 360, "height": 740}
PAGES = (
    "",
    "projects/",
    "projects/default/",
    "keys/",
    "keys/new/",
    "members/",
    "memory/",
    "sessions/",
    "audit/",
    "settings/",
)


def test_a_newcomer_signs_up_and_copies_a_key(live: LiveServer, transactional_db: None, chromium: Browser) -> None:
    address = f"new-{uuid.uuid4().hex[:12]}@example.com"
    with visit(chromium, live.url, permissions=["clipboard-read", "clipboard-write"]) as visitor:
        page = visitor.go("/")
        page.get_by_role("link", name="Start free").first.click()
        page.get_by_label("Your name").fill("Nova Newcomer")
        page.get_by_label("Email").fill(address)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Create account").click()
        page.get_by_label("Code").fill(mailed_code(address))
        page.get_by_role("button", name="Confirm").click()
        page.get_by_label("Organization name").fill(f"Nova {uuid.uuid4().hex[:8]}")
        page.get_by_role("button", name="Create organization").click()
        expect(page.get_by_role("heading", name="First steps")).to_be_visible()
        page.get_by_role("link", name="Projects").click()
        page.get_by_role("link", name="New project").click()
        page.get_by_role("dialog").get_by_label("Project name").fill("Assistant")
        page.get_by_role("button", name="Create project").click()
        expect(page.get_by_role("heading", name="Assistant")).to_be_visible()
        page.get_by_role("link", name="API keys").click()
        page.get_by_role("link", name="Create API key").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name", exact=True).fill("My server")
        dialog.get_by_role("button", name="Create key").click()
        page.get_by_role("button", name="Copy the key").click()
        expect(page.locator("#announce")).to_have_text("Copied to the clipboard")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert is_well_formed(copied)
        page.reload()
        expect(page.get_by_text("This key was shown already")).to_be_visible()
        assert copied not in page.content()
        assert visitor.complaints == []


def test_an_invited_newcomer_signs_up_and_is_in(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    address = f"guest-{uuid.uuid4().hex[:12]}@example.com"
    home = f"/o/{live_tenant.organization.slug}/"
    with visit(chromium, live.url, live_tenant.owner) as owner:
        page = owner.go(home + "members/")
        page.get_by_role("link", name="Invite").click()
        page.get_by_role("dialog").get_by_label("E-mail").fill(address)
        page.get_by_role("button", name="Send invitation").click()
        expect(page.get_by_role("heading", name="Invited")).to_be_visible()
    with visit(chromium, live.url) as guest:
        page = guest.go(mailed_link(address))
        page.get_by_role("link", name="Create an account").click()
        page.get_by_label("Your name").fill("Gus Guest")
        page.get_by_label("Email").fill(address)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Create account").click()
        page.get_by_label("Code").fill(mailed_code(address))
        page.get_by_role("button", name="Confirm").click()
        page.get_by_role("button", name="Accept the invitation").click()
        expect(page.get_by_role("heading", name=live_tenant.organization.name)).to_be_visible()
        expect(page.get_by_role("link", name="Audit log")).to_be_hidden()
        assert guest.complaints == []


def test_the_theme_follows_the_device_until_it_is_chosen(
    live: LiveServer, live_tenant: Tenant, chromium: Browser
) -> None:
    background = "getComputedStyle(document.documentElement).backgroundColor"
    with visit(chromium, live.url, live_tenant.owner, color_scheme="dark") as visitor:
        page = visitor.go("/")
        dark = page.evaluate(background)
        page.get_by_role("button", name="Dark theme").click()
        light = page.evaluate(background)
        assert sum(map(int, light[4:-1].split(", "))) > 600 > 150 > sum(map(int, dark[4:-1].split(", ")))
        visitor.go(f"/o/{live_tenant.organization.slug}/keys/")
        assert page.evaluate(background) == light
        expect(page.get_by_role("button", name="Dark theme")).to_have_attribute("aria-pressed", "false")


def test_a_phone_shows_every_page_without_sideways_scrolling(
    live: LiveServer, live_tenant: Tenant, chromium: Browser
) -> None:
    with visit(chromium, live.url, live_tenant.owner, viewport=PHONE, has_touch=True) as visitor:
        for page_name in PAGES:
            visitor.go(f"/o/{live_tenant.organization.slug}/{page_name}")
            assert visitor.overflow() <= 0, page_name


def test_a_phone_shows_one_thing_without_sideways_scrolling(
    live: LiveServer, live_tenant: Tenant, chromium: Browser
) -> None:
    endless = "so-long-a-word-that-no-phone-shows-it-" * 5
    one = remember(live_tenant, f"Spring {endless}", endless, user_id=endless)
    two = remember(live_tenant, "Autumn", f"{endless} once more", user_id=endless)
    home, chosen = f"/o/{live_tenant.organization.slug}/", f"?id={one}&id={two}"
    session = quote(f"about Spring {endless}/?&", safe="")
    pages = [f"memory/default/{page}{chosen}" for page in ("compare/", "merge/", "fork/", "")]
    with visit(chromium, live.url, live_tenant.owner, viewport=PHONE, has_touch=True) as visitor:
        for page_name in (*pages, f"sessions/default/?id={session}"):
            visitor.go(home + page_name)
            assert visitor.overflow() <= 0, page_name
        page = visitor.go(home + "memory/")
        page.get_by_role("checkbox", name="Choose Autumn").check()
        assert visitor.overflow() <= 0


def test_the_navigation_opens_on_a_phone(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    with visit(chromium, live.url, live_tenant.owner, viewport=PHONE) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/")
        expect(page.get_by_role("link", name="Members")).to_be_hidden()
        page.get_by_role("button", name="Navigation", exact=True).click()
        page.get_by_role("link", name="Members").click()
        expect(page.get_by_role("heading", name="Members")).to_be_visible()


def test_the_keyboard_alone_revokes_a_key(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/keys/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        revoke = page.get_by_role("link", name="Revoke Test")
        _tab_to(visitor.page, revoke)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(revoke).to_be_focused()
        page.keyboard.press("Enter")
        _tab_to(visitor.page, page.get_by_role("button", name="Revoke key"))
        page.keyboard.press("Enter")
        expect(page.get_by_text("It stops working everywhere")).to_be_visible()


def test_everything_needed_works_without_a_script(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    with visit(chromium, live.url, live_tenant.owner, java_script_enabled=False) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/projects/")
        page.get_by_role("link", name="New project").click()
        page.get_by_label("Project name").fill("Plain")
        page.get_by_role("button", name="Create project").click()
        expect(page.get_by_role("heading", name="Plain", exact=True)).to_be_visible()
        visitor.go(f"/o/{live_tenant.organization.slug}/audit/")
        page.get_by_label("What it was done to").fill("Plain")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.get_by_label("Switch organization").click()
        expect(page.get_by_role("link", name="Create an organization")).to_be_visible()


def test_memories_are_found_while_typing(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    remember(live_tenant, "Lisbon office", "Invoices go to Lisbon")
    remember(live_tenant, "Knees", "The left knee hurts")
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/memory/")
        expect(page.locator(".capsule-row")).to_have_count(2)
        page.keyboard.press("/")
        page.keyboard.type("invoic")
        expect(page.locator(".capsule-row")).to_have_count(1)
        expect(page.locator("mark")).to_have_text("Invoices")
        expect(page).to_have_url(re.compile("q=invoic"))
        expect(page.locator("#announce")).to_have_text("1 capsule shown")
        page.get_by_role("link", name="Lisbon office").click()
        expect(page.get_by_role("heading", name="Facts")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download").click()
        assert download.value.suggested_filename.endswith(".json")
        assert visitor.serious_violations() == []
        page.go_back()
        expect(page.locator("mark")).to_have_text("Invoices")
        expect(page.get_by_role("heading", name="Memory")).to_be_visible()
        page.get_by_role("link", name="Lisbon office").click()
        page.get_by_role("link", name="Delete").click()
        page.get_by_role("button", name="Delete capsule").click()
        expect(page.locator(".capsule-row")).to_have_count(1)
        assert visitor.complaints == []


def test_capsules_are_chosen_compared_and_merged(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    for title, fact in (
        ("Spring", "Ships on Tuesdays"),
        ("Summer", "Ships on Mondays"),
        ("Autumn", "Ships on Fridays"),
    ):
        remember(live_tenant, title, fact)
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/memory/")
        compare, merge = page.get_by_role("button", name="Compare"), page.get_by_role("button", name="Merge")
        expect(compare).to_be_hidden()
        page.get_by_role("checkbox", name="Choose Spring").check()
        expect(page.get_by_text("1 chosen")).to_be_visible()
        expect(compare).to_be_disabled()
        page.get_by_role("checkbox", name="Choose Summer").check()
        page.get_by_role("checkbox", name="Choose Autumn").check()
        expect(merge).to_be_enabled()
        expect(compare).to_be_disabled()
        page.get_by_role("button", name="Clear").click()
        expect(compare).to_be_hidden()
        page.get_by_role("checkbox", name="Choose Spring").check()
        page.get_by_role("checkbox", name="Choose Autumn").check()
        expect(page.get_by_text("2 chosen")).to_be_visible()
        compare.click()
        expect(page.locator("del").first).to_have_text("Tuesdays")
        expect(page.locator("ins").first).to_have_text("Fridays")
        page.get_by_role("link", name="Merge them").click()
        page.get_by_label("Title").fill("All year")
        page.get_by_role("button", name="Merge capsules").click()
        expect(page.get_by_role("heading", name="All year")).to_be_visible()
        assert visitor.complaints == []


def test_capsules_are_chosen_without_a_script(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    remember(live_tenant, "Spring", "Ships on Tuesdays")
    remember(live_tenant, "Autumn", "Ships on Fridays")
    with visit(chromium, live.url, live_tenant.owner, java_script_enabled=False) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/memory/")
        page.get_by_role("checkbox", name="Choose Spring").check()
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_text("Choose exactly two capsules")).to_be_visible()
        page.get_by_role("checkbox", name="Choose Spring").check()
        page.get_by_role("checkbox", name="Choose Autumn").check()
        page.get_by_role("button", name="Compare").click()
        expect(page.locator("ins").first).to_have_text("Fridays")


def test_a_long_conversation_is_loaded_in_place(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    converse(live_tenant, "long", 60)
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/sessions/default/?id=long")
        turns = page.locator(".turn-body")
        expect(turns).to_have_count(50)
        page.get_by_role("link", name="Load more").click()
        expect(turns).to_have_count(100)
        expect(page.locator("#announce")).to_have_text("Turns 51 to 100 shown")
        expect(page.get_by_role("link", name="Load more")).to_be_focused()
        page.keyboard.press("Enter")
        expect(turns).to_have_count(120)
        expect(page.get_by_role("link", name="Load more")).to_be_hidden()
        expect(page).to_have_url(re.compile("id=long$"))
        assert visitor.complaints == []


def test_a_passkey_is_added_and_signs_in(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    home = live.url.replace("127.0.0.1", "localhost")  # passkeys belong to names, not to addresses
    with visit(chromium, home, live_tenant.owner) as visitor:
        page = visitor.page
        developer = visitor.context.new_cdp_session(page)
        developer.send("WebAuthn.enable")
        abilities = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
        options = abilities | {"isUserVerified": True, "automaticPresenceSimulation": True}
        developer.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        visitor.go("/account/2fa/webauthn/add/")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Confirm").click()
        page.get_by_label("Name").fill("My laptop")
        page.get_by_label("Passwordless").check()
        page.get_by_role("button", name="Add").click()
        expect(page.get_by_role("heading", name="Recovery Codes")).to_be_visible()
        visitor.go("/account/logout/")
        page.get_by_role("main").get_by_role("button", name="Sign out").click()
        visitor.go("/account/login/")
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_text(live_tenant.organization.name).first).to_be_visible()
        assert visitor.complaints == []


def _tab_to(page: Page, target: Locator, most: int = 60) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError("The keyboard does not reach it.")
