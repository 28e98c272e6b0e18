"""What Stripe collects is one bill: ours follows Stripe's, is compared with it, and what it missed is billed once."""

import logging
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.credits.models import Transaction
from billing.invoicing import services
from billing.invoicing.models import Invoice, LateCharge
from billing.invoicing.selectors.billed import compared
from billing.invoicing.services import comparing
from billing.models import BillingAccount, Document, MeterPush, Source, Subscription
from billing.money import month_after
from billing.sandbox import clock
from billing.services.meter_pushes import collect, deliver
from billing.stripe_client import StripeClient, StripeUnavailable, client
from billing.stripe_events import refresh
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.billing.invoicing.conftest import (
    CLOSED_AT,
    END,
    NEXT,
    NEXT_CLOSED_AT,
    PERIOD,
    START,
    subscribe,
    used,
)
from tests.billing.shop import pay_there, publish, to_checkout
from tests.factories import Tenant
from tests.sums import catch_up

DAY = timedelta(days=1)


class Payer:
    """A customer of Stripe's (the simulator), whose time a test moves on."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        url = to_checkout(tenant, "http://testserver/")
        session = pay_there(url)
        self.subscription: str = session["subscription"]
        refresh("subscription", self.subscription)
        with scope(tenant.organization):
            self.customer = str(BillingAccount.objects.get().stripe_customer_id)
            row = Subscription.objects.get()
        self.start, self.end = row.period_start, row.period_end

    def wait_until(self, moment: datetime) -> None:
        """Let the simulator's time pass, and hear of it."""
        clock.advance(self.customer, moment - datetime.fromtimestamp(clock.now_of(self.customer), moment.tzinfo))
        refresh("subscription", self.subscription)
        for status in ("open", "paid"):
            for invoice in client().invoices(self.customer, status):
                refresh("invoice", invoice["id"])

    def push(self, now: datetime) -> None:
        """Tell Stripe's meters what was used."""
        catch_up()
        collect(organization_id=self.tenant.organization.pk, now=now)
        deliver(organization_id=self.tenant.organization.pk)

    def close(self) -> Invoice:
        """Our invoice of the first period."""
        services.close_due(now=self.end + 2 * DAY)
        with scope(self.tenant.organization):
            return Invoice.objects.get(period_end=self.end)

    def charges(self) -> list[LateCharge]:
        with scope(self.tenant.organization):
            return list(LateCharge.objects.order_by("pk"))

    def items(self) -> list[dict[str, Any]]:
        """What waits at Stripe for the next invoice, or is on one."""
        return [one for one in client().invoice_items(self.customer) if one["metadata"].get("late_charge")]


@pytest.fixture
def payer(committed: Tenant) -> Payer:
    publish()
    return Payer(committed)


@pytest.fixture
def late(payer: Payer) -> Payer:
    """10,000 operations above those included were billed by Stripe; 5,000 more came when it had closed its invoice."""
    used(payer.tenant, 260_000, payer.start + 2 * DAY)
    payer.wait_until(payer.start + 20 * DAY)
    payer.push(payer.start + 20 * DAY)
    payer.wait_until(payer.end + DAY)
    used(payer.tenant, 5_000, payer.start + 3 * DAY)
    return payer


def compare(payer: Payer) -> bool:
    with scope(payer.tenant.organization):
        invoice = Invoice.objects.get()
    return comparing.compare(organization_id=payer.tenant.organization.pk, invoice=invoice)


def send(payer: Payer) -> int:
    return comparing.deliver(organization_id=payer.tenant.organization.pk)


def test_an_invoice_takes_over_what_stripe_says_of_its_period(late: Payer) -> None:
    invoice = late.close()
    with scope(late.tenant.organization):
        [document] = Document.objects.filter(billing_reason="subscription_cycle")
        assert AuditEvent.objects.filter(action="billing.invoice.paid").count() == 1
    assert (invoice.stripe_id, invoice.number, invoice.state) == (document.stripe_id, document.number, "paid")
    assert (invoice.page_url, invoice.pdf_url) == (document.page_url, document.pdf_url)
    assert invoice.settled_at == document.settled_at
    refresh("invoice", document.stripe_id)  # again
    with scope(late.tenant.organization):
        assert AuditEvent.objects.filter(action="billing.invoice.paid").count() == 1


def test_late_use_is_billed_by_stripe_s_next_invoice_once(late: Payer) -> None:
    invoice = late.close()
    assert not compare(late)
    with scope(late.tenant.organization):
        invoice.refresh_from_db()
        found = compared(invoice)
        assert AuditEvent.objects.filter(action="billing.invoice.late_use").count() == 1
    assert found is not None
    assert (found.ours, found.at_stripe, found.later, found.difference) == (180, 120, 60, 0)
    assert [send(late), send(late)] == [1, 0]
    assert not compare(late)
    assert [one["amount"] for one in late.items()] == [60]
    late.wait_until(late.end + 32 * DAY)
    newest = client().invoices(late.customer, "paid")[0]
    late_lines = [line for line in newest["lines"]["data"] if "counted after invoice" in line["description"]]
    assert [line["amount"] for line in late_lines] == [60]


def test_a_charge_whose_answer_was_lost_is_looked_for_and_not_sent_twice(
    late: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    late.close()
    compare(late)
    real = StripeClient.set_invoice_item

    def lost(self: StripeClient, form: Any, *, item: str = "", key: str) -> Any:
        real(self, form, item=item, key=key)
        raise StripeUnavailable("The answer was lost.", 1)

    monkeypatch.setattr(StripeClient, "set_invoice_item", lost)
    with pytest.raises(StripeUnavailable):
        send(late)
    monkeypatch.setattr(
        StripeClient, "set_invoice_item", lambda self, form, *, item="", key: real(self, form, key=f"{key} a day later")
    )
    assert send(late) == 1
    [item] = late.items()
    assert [charge.stripe_id for charge in late.charges()] == [item["id"]]


def test_a_correction_in_the_customer_s_favour_is_given_back(late: Payer) -> None:
    used(late.tenant, -7_000, late.start + 2 * DAY)  # 258,000 of the 260,000 that Stripe billed
    late.close()
    assert not compare(late)
    assert [charge.amount for charge in late.charges()] == [-24]
    send(late)
    assert [one["amount"] for one in late.items()] == [-24]


def test_use_that_we_never_told_stripe_is_an_alarm_and_not_charged(
    late: Payer, caplog: pytest.LogCaptureFixture
) -> None:
    late.close()
    with scope(late.tenant.organization):
        MeterPush.objects.update(end=1_000)
    with caplog.at_level(logging.ERROR, "billing.invoicing"):
        assert compare(late)
    assert "invoicing.differs_from_stripe" in caplog.text
    assert "ours=180 theirs=120 later=0" in caplog.text
    assert late.charges() == []


def test_a_price_that_is_not_ours_is_an_alarm(late: Payer, monkeypatch: pytest.MonkeyPatch) -> None:
    late.close()
    real = StripeClient.invoice_lines

    def dearer(self: StripeClient, invoice: str) -> list[dict[str, Any]]:
        return [line | {"amount": line["amount"] + 1} for line in real(self, invoice)]

    monkeypatch.setattr(StripeClient, "invoice_lines", dearer)
    assert compare(late)
    assert late.charges() == []


def test_the_sweep_compares_everybody_and_sends_what_waits(late: Payer) -> None:
    late.close()
    comparing.compare_due()
    assert [one["amount"] for one in late.items()] == [60]
    assert [charge.delivered_at is not None for charge in late.charges()] == [True]


@pytest.fixture
def quiet(committed: Tenant) -> Tenant:
    """A closed period that Stripe collects and has no invoice of."""
    subscribe(committed, source=Source.STRIPE, stripe_id=f"sub_{committed.organization.pk.hex}")
    used(committed, 251_000, START)
    with scope(committed.organization):
        services.close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)
    return committed


def document(tenant: Tenant, status: str, **changes: Any) -> Document:
    made = {
        "kind": "invoice",
        "number": f"S-{tenant.organization.pk.hex[-8:]}",
        "currency": "usd",
        "total": 29_12,
        "billing_reason": "subscription_cycle",
        "period_end": END,
        "issued_at": END,
        "synced_at": timezone.now(),
        "page_url": "https://pay.example.com/1",
    }
    row, _ = Document.objects.update_or_create(
        stripe_id=f"in_{tenant.organization.pk.hex}", defaults=made | {"status": status} | changes
    )
    return row


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (["open", "paid"], ["billing.invoice.paid"]),
        (["open", "void"], ["billing.invoice.voided"]),
        (["open", "uncollectible", "paid"], ["billing.invoice.written_off", "billing.invoice.paid"]),
    ],
)
def test_an_invoice_follows_stripe_s_as_often_as_that_changes(
    quiet: Tenant, states: list[str], words: list[str]
) -> None:
    with scope(quiet.organization):
        for state in states:
            for _ in range(2):
                services.collected.follow(document(quiet, state).stripe_id)
                assert Invoice.objects.get().state == state
        found = AuditEvent.objects.filter(action__startswith="billing.invoice.").exclude(action__endswith="opened")
        assert sorted(found.values_list("action", flat=True)) == sorted(words)


@pytest.mark.parametrize(
    "changes", [{"billing_reason": "subscription_create"}, {"billing_reason": "manual"}, {"period_end": START}]
)
def test_other_invoices_of_stripe_are_not_of_the_period(quiet: Tenant, changes: dict[str, Any]) -> None:
    with scope(quiet.organization):
        services.collected.follow(document(quiet, "paid", **changes).stripe_id)
        assert Invoice.objects.get().stripe_id is None


def test_a_draft_waits_for_its_lines_before_it_follows(committed: Tenant) -> None:
    subscribe(committed, source=Source.STRIPE, stripe_id=f"sub_{committed.organization.pk.hex}")
    services.close_due(now=END + timedelta(minutes=5))
    with scope(committed.organization):
        services.collected.follow(document(committed, "paid").stripe_id)
        assert (Invoice.objects.get().state, Invoice.objects.get().stripe_id) == ("draft", None)
    services.close_due(now=CLOSED_AT)
    with scope(committed.organization):
        assert Invoice.objects.get().state == "paid"
        assert Invoice.objects.get().number is not None


def test_a_period_that_stripe_never_billed_is_an_alarm(quiet: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    with scope(quiet.organization):
        invoice = Invoice.objects.get()
    with caplog.at_level(logging.ERROR, "billing.invoicing"):
        assert comparing.compare(organization_id=quiet.organization.pk, invoice=invoice)
    assert "invoicing.none_at_stripe" in caplog.text


def test_numbers_of_our_own_have_no_gaps_for_stripe_s(quiet: Tenant) -> None:
    with scope(quiet.organization):
        services.collected.follow(document(quiet, "paid").stripe_id)
        Subscription.objects.update(status="canceled", ended_at=END)
    subscribe(quiet, period_start=END, period_end=NEXT[1], created_at=END)
    services.close_due(now=NEXT_CLOSED_AT)
    with scope(quiet.organization):
        numbers = Invoice.objects.filter(source="manual").values_list("number", flat=True)
        assert [str(number)[-5:] for number in numbers] == ["-0001"]


def test_more_that_is_given_back_than_was_used_goes_through_stripe_alone(late: Payer) -> None:
    late.close()
    compare(late)
    used(late.tenant, -12_000, late.start + 2 * DAY)  # told with a period in which little was used
    end = month_after(late.start, 2)
    late.wait_until(end + DAY)
    services.close_due(now=end + 2 * DAY)
    with scope(late.tenant.organization):
        second = Invoice.objects.get(period_end=end)
        assert (second.subtotal, second.credited, second.total) == (-144, -144, 0)
        assert second.lines.get(kind="credit").how == {}
        assert not Transaction.objects.exists()
    assert not comparing.compare(organization_id=late.tenant.organization.pk, invoice=second)
    assert [charge.amount for charge in late.charges()] == [60, -144]
