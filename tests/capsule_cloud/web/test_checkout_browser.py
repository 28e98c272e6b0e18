"""From sign-up to a paid plan in a browser: the simulator's page takes the card, signed webhooks bring the plan."""

import re
import uuid

import pytest
from playwright.sync_api import Browser, Page, expect

from billing.models import Subscription
from billing.sandbox import delivery
from billing.stripe_events import process
from tenancy.scope import scope
from tests.billing.shop import end_what_is_under_way, publish
from tests.capsule_cloud.web.browser import Visitor, mailed_code, visit
from tests.factories import PASSWORD, Tenant
from tests.live import LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_wait")]
GOOD, DECLINED = "4242 4242 4242 4242", "4000 0000 0000 0002"
POOR, ASKING = "4000 0000 0000 9995", "4000 0000 0000 3220"


@pytest.fixture
def shop(transactional_db: None) -> None:
    """Plans for sale, and nothing under way that other tests have left."""
    publish()
    end_what_is_under_way()


def hear() -> int:
    """What the workers do all the time: deliver the webhooks by HTTP, and deal with what has arrived; how much it was.

    They are other processes in production; here they are this one, and the server that answers is another.
    """
    arrived = delivery.deliver()
    while process():
        pass
    return arrived


def choose(page: Page, plan: str = "Pro") -> None:
    """From the plans to the payment page."""
    page.get_by_role("button", name=f"Choose {plan}").click()
    expect(page.get_by_text("Sandbox billing: no money moves.")).to_be_visible()


def pay(page: Page, number: str) -> None:
    page.get_by_role("button", name=number).click()


def sign_up(visitor: Visitor) -> str:
    """A newcomer with an organization; where its pages are."""
    address = f"buyer-{uuid.uuid4().hex[:12]}@example.com"
    page = visitor.go("/account/signup/")
    page.get_by_label("Your name").fill("Bea Buyer")
    page.get_by_label("Email").fill(address)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    page.get_by_label("Code").fill(mailed_code(address))
    page.get_by_role("button", name="Confirm").click()
    page.get_by_label("Organization name").fill(f"Buyers {uuid.uuid4().hex[:8]}")
    page.get_by_role("button", name="Create organization").click()
    expect(page.get_by_role("heading", name="First steps")).to_be_visible()
    found = re.search(r"/o/[^/]+/", page.url)
    assert found is not None
    return found.group()


def test_from_sign_up_to_a_plan_that_the_webhook_brings(live: LiveServer, shop: None, chromium: Browser) -> None:
    with visit(chromium, live.url) as visitor:
        home = sign_up(visitor)
        page = visitor.go(f"{home}billing/plan/")
        choose(page)
        expect(page.get_by_role("row", name=re.compile("Total due today"))).to_contain_text("$29.00")
        assert visitor.serious_violations() == []
        pay(page, GOOD)
        expect(page.get_by_text("Your plan changes as soon as the payment is confirmed")).to_be_visible()
        assert hear() > 0
        # the page itself looks again
        expect(page.get_by_role("heading", name=re.compile("Pro Active"))).to_be_visible()
        visitor.go(f"{home}billing/invoices/")
        expect(page.get_by_text("$29.00").first).to_be_visible()
        assert visitor.complaints == []


@pytest.mark.parametrize("number", [DECLINED, POOR])
def test_a_card_that_is_declined_buys_nothing_and_another_one_does(
    live: LiveServer, shop: None, live_tenant: Tenant, chromium: Browser, number: str
) -> None:
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/billing/plan/")
        choose(page)
        pay(page, number)
        expect(page.get_by_role("alert")).to_contain_text(re.compile("declined|insufficient"))
        hear()
        with scope(live_tenant.organization):
            assert not Subscription.objects.exclude(status="incomplete_expired").exists()
        pay(page, GOOD)
        expect(page.get_by_text("Your plan changes as soon as")).to_be_visible()
        hear()
        expect(page.get_by_role("heading", name=re.compile("Pro Active"))).to_be_visible()
        assert [one for one in visitor.complaints if "402" not in one] == []


def test_a_bank_that_asks_is_answered_no_and_then_yes(
    live: LiveServer, shop: None, live_tenant: Tenant, chromium: Browser
) -> None:
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/billing/plan/")
        choose(page)
        pay(page, ASKING)
        expect(page.get_by_role("heading", name="Your bank asks: is it you?")).to_be_visible()
        expect(page.get_by_text("$29.00")).to_be_visible()
        assert visitor.serious_violations() == []
        page.get_by_role("button", name="It is not").click()
        expect(page.get_by_role("alert")).to_contain_text("unable to authenticate")
        pay(page, ASKING)
        page.get_by_role("button", name="It is me").click()
        expect(page.get_by_text("Your plan changes as soon as")).to_be_visible()
        hear()
        expect(page.get_by_role("heading", name=re.compile("Pro Active"))).to_be_visible()
        assert [one for one in visitor.complaints if "402" not in one] == []
