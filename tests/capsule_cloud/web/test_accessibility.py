"""axe-core finds nothing serious on any page, light or dark, and no page breaks its own policy."""

import pytest
from playwright.sync_api import Browser, expect

from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.capsule_cloud.web.browser import visit
from tests.capsule_cloud.web.test_memory import remember
from tests.capsule_cloud.web.test_sessions import converse
from tests.factories import PASSWORD, Tenant
from tests.live import LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_wait")]
PUBLIC = ("/", "/account/login/", "/account/signup/", "/account/password/reset/", "/outbox/", "/no/such/page/")
ACCOUNT = ("/account/", "/account/email/", "/account/password/change/", "/account/2fa/", "/account/sessions/")
CONSOLE = (
    "",
    "projects/",
    "projects/new/",
    "projects/default/",
    "projects/default/archive/",
    "keys/",
    "keys/new/",
    "members/",
    "members/invite/",
    "members/leave/",
    "memory/",
    "sessions/",
    "usage/",
    "billing/",
    "billing/plan/",
    "billing/invoices/",
    "billing/credits/",
    "billing/caps/",
    "billing/details/",
    "audit/",
    "settings/",
)


def test_public_pages_have_no_serious_violation(live: LiveServer, transactional_db: None, chromium: Browser) -> None:
    with visit(chromium, live.url) as visitor:
        for path in PUBLIC:
            visitor.go(path)
            assert visitor.serious_violations() == []
        assert [one for one in visitor.complaints if "404" not in one] == []


def test_signed_in_pages_have_no_serious_violation(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    home = f"/o/{live_tenant.organization.slug}/"
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        for path in (*ACCOUNT, "/organizations/new/", *(home + page for page in CONSOLE)):
            visitor.go(path)
            assert visitor.serious_violations() == []
        assert visitor.complaints == []


def test_pages_of_one_thing_have_no_serious_violation(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    old, new = remember(live_tenant, "Spring", "Ships on Tuesdays"), remember(live_tenant, "Autumn", "Ships on Fridays")
    converse(live_tenant, "open", 60)
    with scope(live_tenant.organization):
        event = AuditEvent.objects.latest("id")
    home, memory = f"/o/{live_tenant.organization.slug}/", "memory/default/"
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        for path in (
            f"audit/{event.pk}/",
            "sessions/default/?id=open",
            f"{memory}?id={old}",
            f"{memory}compare/?id={old}&id={new}",
            f"{memory}merge/?id={old}&id={new}",
            f"{memory}fork/?id={old}",
            f"{memory}delete/?id={old}",
        ):
            visitor.go(home + path)
            assert visitor.serious_violations() == []
            if "id=open" in path:
                expect(visitor.page.get_by_role("heading", name="Skills noticed")).to_be_visible()
                expect(visitor.page.get_by_role("link", name="Load more")).to_be_visible()
        page = visitor.go(home + "memory/")
        page.get_by_role("checkbox", name="Choose Spring").check()
        assert visitor.serious_violations() == []
        assert visitor.complaints == []


def test_pages_that_ask_for_the_password_have_no_serious_violation(
    live: LiveServer, live_tenant: Tenant, chromium: Browser
) -> None:
    home = f"/o/{live_tenant.organization.slug}/"
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"{home}settings/close/")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Confirm").click()
        expect(page.get_by_role("heading", name="Close the organization")).to_be_visible()
        assert visitor.serious_violations() == []
        visitor.go(f"{home}memory/default/forget/?user=dana")
        assert visitor.serious_violations() == []
        assert visitor.complaints == []


def test_pages_of_the_second_factor_have_no_serious_violation(
    live: LiveServer, live_tenant: Tenant, chromium: Browser
) -> None:
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go("/account/2fa/totp/activate/")
        assert visitor.serious_violations() == []  # asks for the password
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Confirm").click()
        expect(page.get_by_alt_text("QR code")).to_be_visible()
        assert visitor.serious_violations() == []
        visitor.go("/account/2fa/webauthn/add/")
        assert visitor.serious_violations() == []
        assert visitor.complaints == []


def test_an_open_dialog_has_no_serious_violation(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/keys/")
        page.get_by_role("link", name="Create API key").click()
        page.get_by_role("dialog").wait_for()
        assert visitor.serious_violations() == []
