"""What a customer downloads is enough to check an invoice without us."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from billing.invoicing import services
from billing.invoicing.models import Invoice
from billing.metering.meters import Meter
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.billing.invoicing.conftest import CLOSED_AT, PERIOD, START, subscribe, used
from tests.factories import Tenant, make_tenant


@pytest.fixture
def billed(transactional_db: None) -> Tenant:
    """A closed period with use above what is included."""
    tenant = make_tenant()
    subscribe(tenant)
    for number in range(5):
        used(tenant, 60_000 + number, START + timedelta(days=number), Meter.RECALL)
    with scope(tenant.organization):
        services.close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)
    return tenant


def browser_of(tenant: Tenant) -> Client:
    client = Client()
    client.force_login(tenant.owner)
    return client


def invoice_of(tenant: Tenant) -> Invoice:
    with scope(tenant.organization):
        return Invoice.objects.get()


def test_the_two_files_prove_the_invoice_offline_and_a_changed_one_does_not(billed: Tenant, tmp_path: Path) -> None:
    browser, home = browser_of(billed), f"/o/{billed.organization.slug}/billing/invoices/{invoice_of(billed).pk}/"
    page = browser.get(home).content.decode()
    statement, events = tmp_path / "statement.json", tmp_path / "events.jsonl"
    for file, path in ((statement, f"{home}statement/"), (events, f"{home}events/")):
        assert path in page
        answer = browser.get(path)
        assert "attachment" in answer["Content-Disposition"]
        file.write_bytes(answer.getvalue())
    assert len(events.read_text().splitlines()) == 5
    call_command("verify_statement", str(statement), "--events", str(events))
    events.write_text(events.read_text().replace("60001", "60009"))
    with pytest.raises(CommandError):
        call_command("verify_statement", str(statement), "--events", str(events))


def test_a_draft_has_no_statement_yet(tenant: Tenant, owner: Client, home: str) -> None:
    with scope(tenant.organization):
        draft = Invoice.objects.create(
            period_start=PERIOD[0], period_end=PERIOD[1], source=Invoice.Source.STRIPE, currency="usd", terms={}
        )
    for path in ("statement/", "events/"):
        assert owner.get(f"{home}billing/invoices/{draft.pk}/{path}").status_code == 404


def test_a_stranger_gets_nothing(billed: Tenant, stranger: Tenant) -> None:
    browser, invoice = browser_of(stranger), invoice_of(billed)
    for path in ("statement/", "events/"):
        address = f"/o/{stranger.organization.slug}/billing/invoices/{invoice.pk}/{path}"
        assert browser.get(address).status_code == 404


def test_the_statement_says_whose_it_is(billed: Tenant) -> None:
    path = f"/o/{billed.organization.slug}/billing/invoices/{invoice_of(billed).pk}/statement/"
    said = json.loads(browser_of(billed).get(path).content)
    assert said["statement"]["organization"]["slug"] == billed.organization.slug
    assert said["statement"]["meters"] == {"recall": 300_010}
