"""What the pages about money show and do, programs can see and do too."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.credits.services import burn, grant, top_ups
from billing.credits.services.refunds import take_back
from billing.invoicing import services as invoicing
from billing.invoicing.models import Invoice, InvoiceLine
from billing.models import BillingAccount, Document
from billing.quotas.models import Notice
from billing.selectors.subscriptions import live
from billing.services import dunning
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.billing.invoicing.conftest import CLOSED_AT, PERIOD, START, subscribe, used
from tests.billing.services.conftest import Buy, buy, shop
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.web.billing_things import make_billing_things
from tests.factories import make_tenant

__all__ = ["buy", "shop"]


@pytest.fixture
def billed(transactional_db: None) -> Api:
    """A closed period with use above what is included."""
    tenant = make_tenant()
    subscribe(tenant)
    used(tenant, 251_000, START + timedelta(hours=5))
    used(tenant, 7, START + timedelta(days=3))
    with scope(tenant.organization):
        invoicing.close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)
    return Api(tenant)


def data(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return answer.json()


def test_the_overview_says_what_comes_next_and_what_is_overdue(api: Api, buy: Buy) -> None:
    before = data(api.get("/v1/billing"))
    assert before["next_invoice"] is before["payment_due"] is None
    assert (before["parked"]["waiting"], before["granted"], before["has_payment_method"]) == (0, [], False)
    buy(api.tenant, "pro", seats=12)
    now = timezone.now()
    with scope(api.tenant.organization):
        dunning.payment_failed(
            actor=SYSTEM,
            invoice_ref="in_1",
            amount=29_00,
            currency="usd",
            failed_at=now - timedelta(minutes=1),
            pay_url="https://invoice.stripe.com/i/pay",
            now=now,
        )
    after = data(api.get("/v1/billing"))
    assert after["next_invoice"]["amount"] == 29_00 + 2 * 9_00
    assert after["has_payment_method"]
    due = after["payment_due"]
    assert (due["state"], due["owed"], due["pay_url"]) == (
        "past_due",
        [{"amount": 29_00, "currency": "usd"}],
        "https://invoice.stripe.com/i/pay",
    )
    assert "then writes stop" in due["sentence"]


def test_seats_are_priced_and_bought_at_that_price(api: Api, buy: Buy) -> None:
    buy(api.tenant, "pro")
    preview = data(api.get("/v1/billing/seats?seats=14"))
    assert (preview["seats"], preview["added"], preview["monthly"]) == (14, 4, 36_00)
    assert data(api.get("/v1/billing/seats"))["seats"] == 11
    for _ in range(2):
        assert api.post("/v1/billing/seats", {"token": preview["token"]}).status_code == 204
    with scope(api.tenant.organization):
        row = live()
    assert row is not None
    assert (row.seats, row.seat_line_amount) == (14, preview["charge"])
    assert api.patch("/v1/billing/seats", {"policy": "high_water"}).status_code == 204
    assert data(api.get("/v1/billing/details"))["seat_policy"] == "high_water"
    assert api.get("/v1/billing/seats?seats=10001").status_code == 422


def test_details_are_changed_one_by_one(api: Api, shop: None) -> None:
    assert data(api.get("/v1/billing/details"))["legal_name"] == ""
    data(api.patch("/v1/billing/details", {"legal_name": "Acme Ltd", "address": {"city": "Berlin", "country": "DE"}}))
    found = data(api.patch("/v1/billing/details", {"invoice_emails": ["bills@acme.example"], "po_number": "PO-7"}))
    assert found == data(api.get("/v1/billing/details"))
    assert (found["legal_name"], found["po_number"]) == ("Acme Ltd", "PO-7")
    assert (found["invoice_emails"], found["address"]) == (["bills@acme.example"], {"city": "Berlin", "country": "DE"})
    assert api.patch("/v1/billing/details", {"invoice_emails": ["nobody"]}).status_code == 422
    assert api.patch("/v1/billing/details", {"address": {"country": "Germany"}}).status_code == 422


def test_tax_ids_come_and_go(api: Api, shop: None) -> None:
    assert api.post("/v1/billing/tax-ids", {"type": "eu_vat", "value": "SE556677889901"}).status_code == 204
    [one] = data(api.get("/v1/billing/details"))["tax_ids"]
    assert (one["type"], one["value"]) == ("eu_vat", "SE556677889901")
    assert api.delete(f"/v1/billing/tax-ids/{one['id']}").status_code == 204
    assert data(api.get("/v1/billing/details"))["tax_ids"] == []
    assert api.delete(f"/v1/billing/tax-ids/{one['id']}").status_code == 404


def test_cards_are_listed_by_their_last_digits(api: Api, buy: Buy) -> None:
    assert data(api.get("/v1/billing/cards")) == []
    buy(api.tenant, "pro")
    assert data(api.get("/v1/billing/cards")) == [
        {"brand": "visa", "last4": "4242", "expires_month": 12, "expires_year": 2040, "is_used": True}
    ]


def test_a_trial_is_begun_once_and_a_bad_code_refused(api: Api, shop: None) -> None:
    assert api.post("/v1/billing/trial", {"plan": "pro"}).status_code == 204
    assert data(api.get("/v1/billing"))["status"] == "trialing"
    assert api.post("/v1/billing/trial", {"plan": "pro"}).status_code == 409
    assert api.post("/v1/billing/promotion-code", {"code": "NOPE"}).status_code == 422


def test_time_passes_in_the_sandbox_alone(api: Api, buy: Buy, settings: Any) -> None:
    buy(api.tenant, "pro")
    assert api.post("/v1/billing/sandbox/advance", {"days": 2}).status_code == 422
    assert api.post("/v1/billing/sandbox/advance", {"days": 1}).status_code == 204
    settings.STRIPE_SANDBOX = False
    assert api.post("/v1/billing/sandbox/advance", {"days": 1}).status_code == 404


def test_credits_are_bought_and_their_movements_listed(api: Api) -> None:
    with scope(api.tenant.organization):
        for number in range(3):
            grant(
                actor=SYSTEM, amount=5_00, currency="usd", category="promotional", reason=f"N{number}", ref=f"n{number}"
            )
    page = data(api.get("/v1/billing/credits/entries?limit=2"))
    assert [one["reason"] for one in page["data"]] == ["N2", "N1"]
    rest = data(api.get(f"/v1/billing/credits/entries?limit=2&cursor={page['next_cursor']}"))
    assert ([one["reason"] for one in rest["data"]], rest["next_cursor"]) == (["N0"], None)
    assert data(api.post("/v1/billing/credits/top-ups", {"amount": 50_00}), 201)["state"] == "requested"
    assert [one["amount"] for one in data(api.get("/v1/billing/credits/top-ups"))] == [50_00]
    assert api.post("/v1/billing/credits/top-ups", {"amount": 1}).status_code == 422


def test_what_is_owed_after_a_refund_is_said_to_programs_too(api: Api) -> None:
    with scope(api.tenant.organization):
        wish = top_ups.request(actor=api.tenant.actor, amount=20_00, currency="usd")
        top_ups.settle(top_up_id=wish.pk, payment_ref="in_1")
        burn(actor=SYSTEM, amount=12_00, currency="usd", ref="use")
    assert data(api.get("/v1/billing/credits"))["owed"] == 0
    with scope(api.tenant.organization):
        take_back(invoice_ref="in_1", refund_ref="re_1", amount=20_00, total=20_00)
    found = data(api.get("/v1/billing/credits"))
    assert (found["balance"], found["owed"]) == (0, 12_00)


def test_automatic_top_ups_are_chosen(api: Api) -> None:
    assert not data(api.get("/v1/billing/credits/auto-top-up"))["is_on"]
    wish = {"threshold": 10_00, "amount": 50_00, "monthly_maximum": 200_00}
    chosen = data(api.post("/v1/billing/credits/auto-top-up", wish))
    assert chosen == data(api.get("/v1/billing/credits/auto-top-up"))
    assert chosen | wish == chosen
    assert chosen["is_on"]
    assert api.post("/v1/billing/credits/auto-top-up", wish | {"monthly_maximum": 1}).status_code == 422


def test_caps_say_how_far_they_are_used_and_alerts_are_chosen(api: Api) -> None:
    api.post("/api/v1/sessions/s/ingest", {"user_message": "x", "assistant_response": "y"})
    assert data(api.post("/v1/billing/caps", {"allowance": "operations", "amount": 100}))["used"] == 1
    assert [one["used"] for one in data(api.get("/v1/billing/caps"))] == [1]
    assert data(api.get("/v1/billing/alerts"))[0] == {"allowance": "operations", "percents": [50, 80, 100]}
    data(api.post("/v1/billing/alerts", {"allowance": "operations", "percents": [90]}))
    assert data(api.get("/v1/billing/alerts"))[0]["percents"] == [90]
    assert api.post("/v1/billing/alerts", {"allowance": "operations", "percents": [0]}).status_code == 422


def test_a_notice_is_put_away(api: Api) -> None:
    notice_id = make_billing_things(api.tenant)["notice_id"]
    assert api.post(f"/v1/billing/notices/{notice_id}/dismiss").status_code == 204
    with scope(api.tenant.organization):
        assert Notice.objects.get(pk=notice_id).dismissed_at is not None


def test_bills_are_listed_as_they_are_paid(billed: Api) -> None:
    now = timezone.now()
    with scope(billed.tenant.organization):
        Invoice.objects.update(stripe_id="in_listed")
        columns = {"currency": "usd", "issued_at": now, "synced_at": now}
        Document.objects.create(
            kind="invoice",
            status="open",
            stripe_id="in_listed",
            number="C-7",
            total=31_21,
            tax=2_21,
            page_url="https://invoice.stripe.com/7",
            period_start=PERIOD[0],
            period_end=PERIOD[1],
            **columns,
        )
        Document.objects.create(
            kind="refund", status="succeeded", stripe_id="re_of", total=5_00, invoice_stripe_id="in_listed", **columns
        )
        Document.objects.create(
            kind="dispute", status="lost", stripe_id="dp_listed", total=31_21, invoice_stripe_id="in_listed", **columns
        )
        Document.objects.create(kind="refund", status="succeeded", stripe_id="re_alone", total=1_00, **columns)
        invoice = Invoice.objects.get()
    refund, bill = sorted(data(billed.get("/v1/billing/bills")), key=lambda one: one["total"])
    assert (refund["total"], refund["invoice_id"], refund["pay_url"]) == (-1_00, None, "")
    assert (bill["name"], bill["state"], bill["total"], bill["invoice_id"]) == ("C-7", "open", 31_21, str(invoice.pk))
    assert bill["pay_url"] == "https://invoice.stripe.com/7"
    assert bill["tax"] == 2_21
    assert [(one["kind"], one["status"], one["total"]) for one in bill["notes"]] == [
        ("refund", "succeeded", 5_00),
        ("dispute", "lost", 31_21),
    ]


def test_an_invoice_proves_itself_to_programs_too(billed: Api) -> None:
    with scope(billed.tenant.organization):
        invoice, line = Invoice.objects.get(), InvoiceLine.objects.get(allowance="operations")
    statement = data(billed.get(f"/v1/billing/invoices/{invoice.pk}/statement"))
    assert statement["signature"]
    lines = billed.get(f"/v1/billing/invoices/{invoice.pk}/events").getvalue().splitlines()
    assert len(lines) == 2
    events = data(billed.get(f"/v1/billing/lines/{line.pk}/events?limit=1"))
    assert events["data"][0]["quantity"] == 251_000
    assert data(billed.get(f"/v1/billing/lines/{line.pk}/events?cursor={events['next_cursor']}"))["data"]
    hour = (START + timedelta(days=3)).strftime("%Y-%m-%dT%H:00:00Z")
    assert [one["quantity"] for one in data(billed.get(f"/v1/billing/lines/{line.pk}/events?hour={hour}"))["data"]] == [
        7
    ]
    assert billed.get(f"/v1/billing/lines/{line.pk}/events?hour=2001-01-01T00:00:00Z").status_code == 422


def test_a_draft_proves_nothing_yet(api: Api) -> None:
    with scope(api.tenant.organization):
        BillingAccount.objects.get_or_create()
        draft = Invoice.objects.create(
            period_start=PERIOD[0], period_end=PERIOD[1], source="stripe", currency="usd", terms={}
        )
    for path in ("statement", "events"):
        assert api.get(f"/v1/billing/invoices/{draft.pk}/{path}").status_code == 404
