"""Invoices on a page: three clicks lead from one to the raw events of a line, and nobody else's are there."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from billing.invoicing import services
from billing.invoicing.models import Invoice, InvoiceLine
from billing.metering.meters import Meter
from billing.models import Document
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.billing.invoicing.conftest import CLOSED_AT, PERIOD, START, subscribe, used
from tests.capsule_cloud.web.conftest import queries
from tests.factories import Tenant, make_tenant


@pytest.fixture
def billed(transactional_db: None) -> Tenant:
    """A closed period with use above what is included."""
    tenant = make_tenant()
    subscribe(tenant)
    used(tenant, 251_000, START + timedelta(hours=5))
    used(tenant, 40, START + timedelta(hours=5, minutes=1), Meter.INGEST)
    used(tenant, 7, START + timedelta(days=3))
    with scope(tenant.organization):
        services.close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)
    return tenant


def browser_of(tenant: Tenant) -> Client:
    client = Client()
    client.force_login(tenant.owner)
    return client


def line_of(tenant: Tenant) -> InvoiceLine:
    with scope(tenant.organization):
        return InvoiceLine.objects.get(allowance="operations")


def test_three_clicks_lead_from_an_invoice_to_raw_events(billed: Tenant) -> None:
    browser, home = browser_of(billed), f"/o/{billed.organization.slug}/"

    def click(path: str, link: str) -> tuple[str, str]:
        text = browser.get(path).content.decode()
        found = re.search(rf'href="({home}billing/{link})"', text)
        assert found is not None, text
        return found.group(1).replace("&amp;", "&"), text

    invoice, _ = click(f"{home}billing/invoices/", r"invoices/[0-9a-f-]+/")
    text = browser.get(invoice).content.decode()
    assert "251,047 used, 250,000 included" in text
    assert "0.012¢" in text
    path = f"{home}billing/lines/{line_of(billed).pk}/"
    assert path in text
    hour, text = click(path, r"lines/[0-9a-f-]+/events/\?hour=[^\"]+")
    assert "They come to <b>251,047</b>" in text
    assert "40 turns ingested, 251,007 recalls" in text
    assert "1 Aug 2026, 00:00 to 1 Sep 2026, 00:00" in text
    text = browser.get(hour).content.decode()
    assert "251,000" in text
    assert "ada" in text
    assert billed.project.name in text
    assert ">7<" not in text


def test_an_invoice_says_what_is_to_be_paid(billed: Tenant) -> None:
    with scope(billed.organization):
        invoice = Invoice.objects.get()
    text = browser_of(billed).get(f"/o/{billed.organization.slug}/billing/invoices/{invoice.pk}/").content.decode()
    assert str(invoice.number) in text
    assert "Total, without tax" in text
    assert f"{invoice.total / 100:,.2f}" in text


def test_another_organizations_invoice_is_not_there(billed: Tenant, stranger: Tenant) -> None:
    with scope(billed.organization):
        invoice = Invoice.objects.get()
    browser, home = browser_of(stranger), f"/o/{stranger.organization.slug}/"
    line = line_of(billed)
    for path in (f"invoices/{invoice.pk}/", f"lines/{line.pk}/", f"lines/{line.pk}/events/"):
        assert browser.get(f"{home}billing/{path}").status_code == 404


@pytest.mark.parametrize(
    "query", ["hour=x", "hour=2001-01-01T00:00Z", "hour=0001-01-01T00:00%2B23:00", "after=x", "hour=", "after="]
)
def test_an_hour_that_the_line_has_not_is_not_there(billed: Tenant, query: str) -> None:
    path = f"/o/{billed.organization.slug}/billing/lines/{line_of(billed).pk}/events/?{query}"
    assert browser_of(billed).get(path).status_code == 404


def test_documents_of_stripe_have_their_pdf_and_open_ones_a_way_to_pay(
    tenant: Tenant, owner: Client, home: str
) -> None:
    now = timezone.now()
    with scope(tenant.organization):
        for kind, status in (("invoice", "open"), ("invoice", "paid"), ("credit_note", "issued")):
            Document.objects.create(
                kind=kind,
                status=status,
                stripe_id=f"{kind}_{status}_{tenant.organization.pk}",
                number=f"N-{kind}-{status}",
                currency="usd",
                total=12_34,
                page_url=f"https://invoice.stripe.com/{status}",
                pdf_url=f"https://pay.stripe.com/{kind}-{status}.pdf",
                issued_at=now,
                synced_at=now,
            )
    text = owner.get(f"{home}billing/invoices/").content.decode()
    assert "https://invoice.stripe.com/open" in text
    assert "https://invoice.stripe.com/paid" not in text
    assert "https://pay.stripe.com/credit_note-issued.pdf" in text
    assert "-$12.34" in text


def test_a_bill_is_one_entry_with_its_use_and_what_came_back(billed: Tenant) -> None:
    now = timezone.now()
    with scope(billed.organization):
        Invoice.objects.update(stripe_id="in_cycle")
        columns = {"currency": "usd", "issued_at": now, "synced_at": now}
        Document.objects.create(
            kind="invoice",
            status="paid",
            stripe_id="in_cycle",
            number="CAPS-0007",
            total=31_21,
            tax=2_21,
            period_start=PERIOD[0],
            period_end=PERIOD[1],
            pdf_url="https://pay.stripe.com/7.pdf",
            **columns,
        )
        Document.objects.create(
            kind="refund", status="succeeded", stripe_id="re_1", total=5_00, invoice_stripe_id="in_cycle", **columns
        )
        invoice = Invoice.objects.get()
    browser, home = browser_of(billed), f"/o/{billed.organization.slug}/billing/"
    text = browser.get(f"{home}invoices/").content.decode()
    assert text.count("<tr>") == 2  # the head, and one bill
    for words in (
        "CAPS-0007",
        "$31.21",
        "with $2.21 tax",
        "Refund -$5.00",
        "1 Aug to 1 Sep 2026",
        f"invoices/{invoice.pk}/",
    ):
        assert words in text
    text = browser.get(f"{home}invoices/{invoice.pk}/").content.decode()
    assert "Invoice CAPS-0007" in text
    assert "<b>$31.21</b> with the plan, seats and $2.21 of tax" in text
    assert f"${invoice.total / 100:,.2f}, explained line by line" in text


@pytest.mark.parametrize(
    ("kind", "status", "beside", "alone"),
    [
        ("dispute", "needs_response", "Dispute -$5.00: with the bank", "-$5.00"),
        ("dispute", "lost", "Dispute -$5.00: lost", "-$5.00"),
        ("dispute", "won", "Dispute $5.00: won", "$0.00"),
        ("dispute", "warning_closed", "Dispute $5.00: closed", "$0.00"),
        ("refund", "failed", "Refund $5.00: failed", "$0.00"),
    ],
)
def test_what_is_disputed_stands_with_its_bill_or_alone(
    tenant: Tenant, owner: Client, home: str, kind: str, status: str, beside: str, alone: str
) -> None:
    columns = {"currency": "usd", "issued_at": timezone.now(), "synced_at": timezone.now()}
    with scope(tenant.organization):
        Document.objects.create(kind="invoice", status="paid", stripe_id="in_d", number="C-1", total=29_00, **columns)
        for invoice in ("in_d", ""):
            Document.objects.create(
                kind=kind,
                status=status,
                stripe_id=f"of_{invoice}",
                number="fraudulent" if kind == "dispute" else "",
                total=5_00,
                invoice_stripe_id=invoice,
                **columns,
            )
    text = owner.get(f"{home}billing/invoices/").content.decode()
    assert text.count("<tr>") == 3  # the head, the bill, and what belongs to none
    assert beside in text
    assert f">{kind.capitalize()}</td>" in text
    assert f"<span>{alone}</span>" in text


def test_the_free_plan_is_told_that_there_are_none(owner: Client, home: str) -> None:
    assert "The free plan costs nothing." in owner.get(f"{home}billing/invoices/").content.decode()


def test_more_events_cost_no_more_queries(billed: Tenant) -> None:
    browser, path = browser_of(billed), f"/o/{billed.organization.slug}/billing/lines/{line_of(billed).pk}/"
    few = queries(browser, path), queries(browser, f"{path}events/")
    assert max(few) < 30


@pytest.mark.parametrize(
    ("there", "said"), [(12, "The same as ours"), (13, "-$0.01 differ"), (0, "$0.12 differ: we are looking into it")]
)
def test_an_invoice_stands_beside_stripe_s(there: int, said: str, transactional_db: None) -> None:
    tenant = make_tenant()
    subscribe(tenant, source="stripe", stripe_id=f"sub_{tenant.organization.pk.hex}")
    used(tenant, 251_000, START)
    with scope(tenant.organization):
        invoice = services.close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)
        path = f"/o/{tenant.organization.slug}/billing/invoices/{invoice.pk}/"
        assert "Its metered lines" not in browser_of(tenant).get(path).content.decode()
        Invoice.objects.update(at_stripe={"operations": {"quantity": 251_000, "amount": there}})
    assert said in browser_of(tenant).get(path).content.decode()
