"""Bills come in pages: each once, newest first, and with what was given back of it, however old it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from billing.invoicing.models import Invoice
from billing.invoicing.selectors.bills import Bill, bills
from billing.models import Document
from tenancy.scope import scope
from tests.factories import Tenant

START = datetime(2020, 1, 1, tzinfo=UTC)
BILLS = 120


def document(number: int, kind: str, at: datetime, **more: Any) -> Document:
    """A document of Stripe's."""
    columns = {"currency": "usd", "issued_at": at, "synced_at": at, "status": "paid", "total": number}
    return Document(kind=kind, stripe_id=f"{kind}_{number}", number=str(number), **columns, **more)


@pytest.fixture
def billed(tenant: Tenant) -> Tenant:
    """120 invoices of Stripe's, three at each moment, each with a refund and a dispute; six refunds without, six of
    our own drafts, and an invoice of ours that Stripe collects.
    """
    with scope(tenant.organization):
        made = []
        for number in range(BILLS):
            at = START + timedelta(days=number // 3)
            made.append(document(number, "invoice", at))
            later, whose = at + timedelta(days=200), f"invoice_{number}"
            made += [document(number, kind, later, invoice_stripe_id=whose) for kind in ("refund", "dispute")]
        made += [document(1000 + n, "refund", START + timedelta(days=9 * n)) for n in range(6)]
        Document.objects.bulk_create(made)
        for n in range(6):
            period = {"period_start": START + timedelta(days=5 * n), "period_end": START + timedelta(days=5 * n + 5)}
            Invoice.objects.create(currency="usd", terms={}, **period)
        Invoice.objects.create(
            currency="usd", terms={}, stripe_id="invoice_0", period_start=START - timedelta(days=30), period_end=START
        )
    return tenant


@pytest.mark.parametrize("size", [1, 7, 50, 200])
def test_pages_hold_each_bill_once_and_newest_first(billed: Tenant, size: int) -> None:
    found: list[Bill] = []
    with scope(billed.organization):
        while page := bills(size, after=found[-1].place if found else ""):
            assert len(page) <= size
            found += page
        whole = bills(200)
    assert len(found) == len({one.main.pk for one in found}) == BILLS + 12
    assert [one.at for one in found] == sorted((one.at for one in found), reverse=True)
    assert [one.main.pk for one in found] == [one.main.pk for one in whole]


def test_an_old_bill_has_what_was_given_back_and_disputed(billed: Tenant) -> None:
    with scope(billed.organization):
        oldest = next(one for one in bills(200) if one.name == "0")
        assert oldest.invoice is not None, "ours, of the use in it"
    assert [note.stripe_id for note in oldest.notes] == ["refund_0", "dispute_0"]


def test_a_page_takes_as_many_queries_whatever_its_size(billed: Tenant, django_assert_num_queries: Any) -> None:
    with scope(billed.organization):
        for size in (20, 100):
            with django_assert_num_queries(5):
                bills(size)


@pytest.mark.parametrize("place", ["x", "1", "1_x", "99999999999999999999_00000000-0000-0000-0000-000000000000"])
def test_a_place_that_is_none_is_refused(billed: Tenant, client: Client, place: str) -> None:
    answer = client.get("/v1/billing/bills", {"cursor": place}, headers=billed.headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")
    client.force_login(billed.owner)
    assert client.get(f"/o/{billed.organization.slug}/billing/invoices/", {"after": place}).status_code == 404


def test_the_api_links_to_the_next_page(billed: Tenant, client: Client) -> None:
    first = client.get("/v1/billing/bills", headers=billed.headers)
    assert len(first.json()) == 100
    path, _, rest = first.headers["Link"].removeprefix("<").partition(">")
    assert rest == '; rel="next"'
    second = client.get(path, headers=billed.headers)
    assert len(second.json()) == 32
    assert "Link" not in second.headers
    [oldest] = [one for one in second.json() if one["name"] == "0"]
    assert [note["kind"] for note in oldest["notes"]] == ["refund", "dispute"]


def test_the_page_leads_to_older_ones_and_back(billed: Tenant, client: Client) -> None:
    client.force_login(billed.owner)
    path = f"/o/{billed.organization.slug}/billing/invoices/"
    first = client.get(path).content.decode()
    assert "Newest" not in first
    after = first.partition('href="?after=')[2].partition('"')[0]
    second = client.get(path, {"after": after}).content.decode()
    assert "Newest" in second
    assert 'rel="next"' in second
