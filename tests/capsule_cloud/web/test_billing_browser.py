"""The billing pages of a paying customer in a browser: readable by everybody, on a phone, and down to the event."""

import csv
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, expect

from billing.invoicing.models import Invoice, InvoiceLine
from billing.services import dunning
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.capsule_cloud.web.browser import Visitor, visit
from tests.factories import Tenant
from tests.journeys.billing_picture_data import pay
from tests.live import LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_wait")]
PHONE = {"width": 360, "height": 740}


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
    for path in ("", "plan/", "plan/?interval=yearly", "plan/change/?plan=scale", "plan/change/?plan=free"):
        yield f"{home}billing/{path}"
    yield from (f"{home}billing/{path}/" for path in ("invoices", "credits", "caps", "details"))
    yield f"{home}billing/invoices/{invoice.pk}/"
    yield f"{home}billing/lines/{line.pk}/"
    yield f"{home}billing/lines/{line.pk}/events/"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_has_a_serious_violation(live: LiveServer, paying: Tenant, chromium: Browser, theme: str) -> None:
    with visit(chromium, live.url, paying.owner, color_scheme=theme) as visitor:
        for path in pages_of(paying):
            visitor.go(path)
            assert visitor.serious_violations() == []
        assert visitor.complaints == []


def test_a_phone_shows_every_page_without_sideways_scrolling(
    live: LiveServer, paying: Tenant, chromium: Browser
) -> None:
    with visit(chromium, live.url, paying.owner, viewport=PHONE, has_touch=True) as visitor:
        for path in pages_of(paying):
            visitor.go(path)
            assert visitor.overflow() <= 0, path


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
        page.get_by_role("region", name="By period").get_by_role("link").last.click()
        page.get_by_role("link", name=re.compile("Explain Memory operations")).click()
        expect(page.get_by_text("They come to 268,400")).to_be_visible()
        page.locator("tbody a").first.click()
        expect(page.get_by_role("heading", name="Events")).to_be_visible()
        expect(page.locator("tbody tr")).to_have_count(1)
        assert visitor.complaints == []


def test_an_upgrade_is_previewed_and_confirmed(live: LiveServer, paying: Tenant, chromium: Browser) -> None:
    with visit(chromium, live.url, paying.owner, java_script_enabled=False) as visitor:
        page = visitor.go(f"/o/{paying.organization.slug}/billing/plan/")
        page.get_by_role("link", name="Change to Scale").click()
        expect(page.get_by_role("heading", name="From Pro to Scale")).to_be_visible()
        page.get_by_role("button", name=re.compile("Confirm and pay")).click()
        expect(page.get_by_text("The change is made.")).to_be_visible()
        expect(page.get_by_role("heading", name=re.compile("Scale Active"))).to_be_visible()
