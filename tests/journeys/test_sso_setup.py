"""An IT admin without an account sets single sign-on up alone, by a link, and an owner switches it on: in Chromium."""

import re
import uuid

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, VerifiedDomain
from tenancy.sso.setup import services as setup
from tenancy.sso.setup.models import SetupLink
from tests.capsule_cloud.web.browser import Visitor, visit
from tests.capsule_cloud.web.conftest import chromium, may_wait
from tests.factories import PASSWORD, Tenant
from tests.journeys.test_single_sign_on import DESKTOP, PHONE, log_in, peer
from tests.live import LiveServer
from tests.peer_idp import PeerProvider

__all__ = ["chromium", "may_wait", "peer"]  # fixtures of others
pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_wait")]
CLIPBOARD = ["clipboard-read", "clipboard-write"]


def look(visitor: Visitor) -> None:
    """It is accessible, and fits a phone."""
    assert visitor.serious_violations() == []
    visitor.page.set_viewport_size(PHONE)
    assert visitor.overflow() <= 0, visitor.page.url
    visitor.page.set_viewport_size(DESKTOP)


def copied(page: Page, label: str) -> str:
    """What a copy button puts into the clipboard."""
    page.get_by_role("button", name=f"Copy the {label}", exact=False).click()
    expect(page.locator("#announce")).to_have_text("Copied to the clipboard")
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_an_it_admin_without_an_account_does_it_alone_and_an_owner_switches_it_on(
    live: LiveServer, live_tenant: Tenant, chromium: Browser, peer: PeerProvider
) -> None:
    home, name = f"/o/{live_tenant.organization.slug}/", f"acme-{uuid.uuid4().hex[:12]}.com"
    ann = f"ann@{name}"
    peer.people[ann] = "Ann Admin"
    with (
        visit(chromium, live.url, live_tenant.owner, permissions=CLIPBOARD) as owner,
        visit(chromium, live.url, permissions=CLIPBOARD) as admin,
    ):
        page = owner.go(home)
        page.get_by_role("link", name="Single sign-on").click()
        page.get_by_role("link", name="Make a setup link").click()
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Confirm", exact=False).click()
        page.get_by_label("Who is it for?").fill("Ann, IT")
        page.get_by_role("button", name="Make the link").click()
        look(owner)
        link = copied(page, "link")

        page = admin.go(link)
        expect(page).to_have_url(f"{live.url}/sso/setup/")
        look(admin)
        page.get_by_role("button", name="Begin in this browser").click()
        look(admin)
        page.get_by_role("link", name="Add a domain").click()
        page.get_by_label("Domain").fill(name)
        page.get_by_role("button", name="Add domain").click()
        assert copied(page, "value").startswith("capsule-domain-verification=")
        page.get_by_role("link", name="Steps").click()
        expect(page.get_by_text("waiting for the record")).to_be_visible()
        with scope(live_tenant.organization):  # as if the record were in DNS
            VerifiedDomain.objects.update(state="verified", last_code="found", due_at=None)
        expect(page.get_by_text("verified", exact=True)).to_be_visible()  # by itself

        page.get_by_role("link", name="Connect a provider").click()
        page.get_by_role("button", name="Okta, SAML 2.0").click()
        acs_url, entity_id = copied(page, "single sign-on url"), copied(page, "audience uri")
        page.get_by_text("Or give us a file, or the text itself").click()
        file = FilePayload(name="metadata.xml", mimeType="text/xml", buffer=peer.metadata.encode())
        page.get_by_label("Metadata file").set_input_files(file)
        page.get_by_role("button", name="Save and go on").click()
        expect(page.get_by_text("Waiting for the first sign-in")).to_be_visible()
        peer.trust(entity_id)
        with admin.context.expect_page() as opened:
            page.get_by_role("link", name="Test connection").click()
        log_in(opened.value, ann)
        expect(opened.value.get_by_text("The test came through.")).to_be_visible()
        expect(
            page.locator("#status").get_by_text("The test came through.")
        ).to_be_visible()  # where they came from, by itself
        expect(page.get_by_text("Ann Admin").first).to_be_visible()
        look(admin)
        opened.value.close()
        page.get_by_role("link", name="Back to the steps").click()
        expect(page.get_by_text("Your part is done.")).to_be_visible()
        assert [(one.acs_url, one.entity_id) for one in peer.requests] == [(acs_url, entity_id)]

        page = owner.go(f"{home}sso/")
        page.get_by_role("button", name="Switch Okta on").click()
        expect(page.get_by_text("in use", exact=True)).to_be_visible()
        owner.go(f"{home}sso/sign-ins/")
        owner.page.get_by_role("link", name=ann).click()
        expect(owner.page.get_by_role("heading", name="Step by step")).to_be_visible()
        look(owner)
        owner.go(f"{home}sso/links/").get_by_role("button", name="End the link for Ann, IT").click()
        admin.go("/sso/setup/")
        expect(admin.page.get_by_text(f"Ask {live_tenant.owner.email} for a new one.")).to_be_visible()
        admin.complaints = [one for one in admin.complaints if "410" not in one]  # the browser tells of the last page
        assert (owner.complaints, admin.complaints) == ([], [])
    with scope(live_tenant.organization):
        assert IdentityProvider.objects.get().state == "active"
        assert SetupLink.objects.get().opened_at
        assert re.search(str(IdentityProvider.objects.get().pk), acs_url)


def test_pages_of_setup_are_accessible_and_fit_a_phone(
    live: LiveServer, live_tenant: Tenant, chromium: Browser
) -> None:
    home = f"/o/{live_tenant.organization.slug}/sso/"
    with scope(live_tenant.organization):
        setup.make(actor=live_tenant.actor, user=live_tenant.owner, name="Ann, IT", email="ann@example.com")
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        for path in ("links/", "sign-ins/", "providers/new/"):
            visitor.go(home + path)
            look(visitor)
        visitor.page.get_by_role("button", name="Another identity provider, OpenID Connect").click()
        expect(visitor.page.get_by_role("heading", name="Try it")).to_be_visible()
        look(visitor)
        assert visitor.complaints == []
