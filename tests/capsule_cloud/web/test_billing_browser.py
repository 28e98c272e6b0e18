"""The billing pages of a paying customer in a browser: readable by everybody, on a phone, and down to the event."""

import csv
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, ViewportSize, expect

from billing.invoicing.models import Invoice, InvoiceLine
from billing.metering.models import UsageHour
from billing.models import Subscription
from billing.services import catalogue, dunning
from billing.services.subscriptions import start_trial
from billing.stripe_client import client
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.capsule_cloud.web.browser import Visitor, visit
from tests.factories import Tenant
from tests.journeys.billing_picture_data import pay
from tests.live import LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_wait")]
PHONE: ViewportSize = {"width": 360, "height": 740}
DESKTOP: ViewportSize = {"width": 1280, "height": 720}


@pytest.fixture
def paying(live_tenant: Tenant) -> Tenant:
    """A customer with everything that these pages can show, and an invoice that was not paid."""
    pay(live_tenant.organization, live_tenant.actor, live_tenant.project, live_tenant.key)
    with scope(live_tenant.organization):
        dunning.payment_failed(
            actor=SYSTEM,
            invoice_ref=f"in_{live_tenant.organization.pk}",
            amount=29_00,
            currency="usd",
            failed_at=timezone.now() - timedelta(days=15),
            pay_url="https://invoice.stripe.com/i/pay",
        )
    return live_tenant


def pages_of(tenant: Tenant) -> Iterator[str]:
    with scope(tenant.organization):
        invoice = Invoice.objects.exclude(state="draft").latest("period_start")
        line = InvoiceLine.objects.get(invoice=invoice, allowance="operations")
    home = f"/o/{tenant.organization.slug}/"
    yield from (f"{home}usage/?by={by}" for by in ("meter", "end_user"))
    yield from (f"{home}usage/?what={what}&by=project" for what in ("stored_bytes", "active_end_user", "seat"))
    for path in ("", "plan/", "plan/?interval=yearly", "plan/change/?plan=scale", "plan/change/?plan=free"):
        yield f"{home}billing/{path}"
    yield from (f"{home}billing/{path}/" for path in ("invoices", "credits", "caps", "details", "details/cards/list"))
    yield from (f"{home}billing/plan/seats/?seats={seats}" for seats in (12, 15, 10))
    yield f"{home}billing/invoices/{invoice.pk}/"
    yield f"{home}billing/lines/{line.pk}/"
    yield f"{home}billing/lines/{line.pk}/events/"


def test_no_page_has_a_serious_violation_and_each_fits_on_a_phone(
    live: LiveServer, paying: Tenant, chromium: Browser
) -> None:
    with visit(chromium, live.url, paying.owner) as visitor:
        for path in pages_of(paying):
            page = visitor.go(path)
            assert visitor.serious_violations() == []
            page.set_viewport_size(PHONE)
            assert visitor.overflow() <= 0, path
            page.set_viewport_size(DESKTOP)
        assert visitor.complaints == []


def test_the_explorer_answers_as_one_chooses_and_its_file_has_the_same_total(
    live: LiveServer, paying: Tenant, chromium: Browser, tmp_path: Path
) -> None:
    with visit(chromium, live.url, paying.owner) as visitor:
        page = visitor.go(f"/o/{paying.organization.slug}/usage/")
        page.get_by_label("What").select_option("recall")
        expect(page).to_have_url(re.compile("what=recall"))
        page.get_by_label("Split by").select_option("key")
        expect(page.locator("tbody tr").last).to_contain_text("Test (")
        total = total_of(visitor)
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        file = tmp_path / "usage.csv"
        download.value.save_as(file)
        with file.open() as lines:
            rows = list(csv.DictReader(lines))
        assert {row["meter"] for row in rows} == {"recall"}
        assert sum(int(row["quantity"]) for row in rows) == total > 0
        assert visitor.complaints == []


def total_of(visitor: Visitor) -> int:
    return int(visitor.page.locator(".stat dd").first.inner_text().replace(",", ""))


def test_three_clicks_lead_from_an_invoice_to_its_events(live: LiveServer, paying: Tenant, chromium: Browser) -> None:
    with visit(chromium, live.url, paying.owner) as visitor:
        page = visitor.go(f"/o/{paying.organization.slug}/billing/invoices/")
        page.get_by_role("link", name=re.compile("^Lines of")).first.click()
        page.get_by_role("link", name=re.compile("Explain Memory operations")).click()
        expect(page.get_by_text("They come to 268,400")).to_be_visible()
        page.locator("tbody a").first.click()
        expect(page.get_by_role("heading", name="Events")).to_be_visible()
        expect(page.locator("tbody tr")).to_have_count(1)
        assert visitor.complaints == []


def test_a_chart_says_what_is_under_the_pointer_and_has_a_table(
    live: LiveServer, paying: Tenant, chromium: Browser
) -> None:
    with visit(chromium, live.url, paying.owner) as visitor:
        for path, words in (
            ("billing/", "since the period began"),
            ("usage/?what=stored_bytes", "4.1 GB stored bytes"),
        ):
            page = visitor.go(f"/o/{paying.organization.slug}/{path}")
            page.locator(".chart .day").nth(5).hover()
            expect(page.locator(".chart-readout")).to_contain_text(words)
            page.get_by_text("The same as a table").click()
            expect(page.locator(".chart details tbody tr").first).to_be_visible()
        assert visitor.complaints == []


def test_the_price_of_seats_follows_what_is_typed_and_is_what_is_charged(
    live: LiveServer, paying: Tenant, chromium: Browser
) -> None:
    with visit(chromium, live.url, paying.owner) as visitor:
        page = visitor.go(f"/o/{paying.organization.slug}/billing/plan/")
        expect(page.get_by_text("one more")).to_be_visible()
        page.get_by_label("Seats", exact=True).fill("15")
        confirm = page.get_by_role("button", name=re.compile("Confirm 15 seats"))
        shown = re.search(r"\$([0-9.]+) more", confirm.inner_text())
        confirm.click()
        expect(page.get_by_text("Saved. More seats")).to_be_visible()
        with scope(paying.organization):
            charged = Subscription.objects.get().seat_line_amount
        assert shown is not None
        assert charged == int(Decimal(shown.group(1)) * 100) > 0
        assert visitor.complaints == []


def reach(page: Page, name: str) -> None:
    """Go with the tabulator until the thing with this name has the focus."""
    for _ in range(120):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            "() => { const e = document.activeElement; return [e.getAttribute('aria-label') || e.innerText || "
            "(e.labels && e.labels[0] && e.labels[0].innerText) || '', e.matches(':focus-visible')]; }"
        )
        if str(focus[0]).strip().startswith(name):
            assert focus[1], f"{name} does not show that it has the focus"
            return
    raise AssertionError(f"{name} cannot be reached by keyboard")


def test_a_plan_is_changed_by_keyboard_alone(live: LiveServer, paying: Tenant, chromium: Browser) -> None:
    with visit(chromium, live.url, paying.owner) as visitor:
        page = visitor.go(f"/o/{paying.organization.slug}/billing/plan/")
        reach(page, "Change to Scale")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="From Pro to Scale")).to_be_visible()
        reach(page, "Confirm and pay")
        page.keyboard.press("Enter")
        expect(page.get_by_text("The change is made.")).to_be_visible()
        assert visitor.complaints == []


def test_credits_are_bought_by_keyboard_alone(live: LiveServer, paying: Tenant, chromium: Browser) -> None:
    with visit(chromium, live.url, paying.owner) as visitor:
        page = visitor.go(f"/o/{paying.organization.slug}/billing/credits/")
        reach(page, "Amount in US dollars")
        page.keyboard.press("Control+a")
        page.keyboard.type("25.00")
        reach(page, "Buy")
        page.keyboard.press("Enter")
        expect(page.get_by_text("$25.00 of credits are being paid.")).to_be_visible()
        assert visitor.complaints == []


@pytest.mark.parametrize("days", [0, 15, 29, 61])
def test_what_is_overdue_is_said_with_its_sum_and_a_way_to_pay(
    live: LiveServer, live_tenant: Tenant, chromium: Browser, days: int
) -> None:
    now = timezone.now()
    with scope(live_tenant.organization):
        dunning.payment_failed(
            actor=SYSTEM,
            invoice_ref=f"in_{live_tenant.organization.pk}",
            amount=29_00,
            currency="usd",
            failed_at=now - timedelta(days=days, minutes=1),
            pay_url="https://invoice.stripe.com/i/pay",
            now=now,
        )
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/billing/")
        banner = page.get_by_role("region", name="Payment")
        expect(banner).to_contain_text("$29.00 is open.")
        expect(banner.get_by_role("link", name="Pay now")).to_have_attribute("href", "https://invoice.stripe.com/i/pay")
        assert visitor.serious_violations() == []


def test_pages_at_a_cap_and_in_a_trial_have_no_serious_violation(
    live: LiveServer, live_tenant: Tenant, chromium: Browser
) -> None:
    with scope(live_tenant.organization):
        hour = timezone.now().replace(minute=0, second=0, microsecond=0)
        UsageHour.objects.create(
            project_id=live_tenant.project.pk, meter="ingest", hour=hour, quantity=25_000, events=1
        )
    home = f"/o/{live_tenant.organization.slug}/"
    with visit(chromium, live.url, live_tenant.owner, viewport=PHONE) as visitor:
        page = visitor.go(f"{home}billing/")
        expect(page.get_by_text("At the cap of the Free plan")).to_be_visible()
        assert visitor.serious_violations() == []
        catalogue.push(client())
        start_trial(organization_id=live_tenant.organization.pk, actor=live_tenant.actor, plan_key="pro")
        for path in ("billing/", "billing/plan/", "billing/details/", "billing/invoices/"):
            visitor.go(home + path)
            assert visitor.serious_violations() == []
            assert visitor.overflow() <= 0, path
        assert visitor.complaints == []


def test_an_upgrade_is_previewed_and_confirmed(live: LiveServer, paying: Tenant, chromium: Browser) -> None:
    with visit(chromium, live.url, paying.owner, java_script_enabled=False) as visitor:
        page = visitor.go(f"/o/{paying.organization.slug}/billing/plan/")
        page.get_by_role("link", name="Change to Scale").click()
        expect(page.get_by_role("heading", name="From Pro to Scale")).to_be_visible()
        page.get_by_role("button", name=re.compile("Confirm and pay")).click()
        expect(page.get_by_text("The change is made.")).to_be_visible()
        expect(page.get_by_role("heading", name=re.compile("Scale Active"))).to_be_visible()
