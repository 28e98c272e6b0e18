"""Our own invoices are paid by credits, out of band, or not at all; each once, and each in the trail."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from billing.credits.selectors import balance
from billing.credits.services import grant
from billing.invoicing import services
from billing.invoicing.models import Invoice
from billing.invoicing.services.settling import NotOpen
from billing.metering.meters import Meter
from billing.models import Dunning, Source
from billing.money import month_after
from billing.services import dunning
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import SYSTEM
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.invoicing.conftest import CLOSED_AT, NEXT, NEXT_CLOSED_AT, PERIOD, START, subscribe, used
from tests.factories import Tenant


def open_invoice(tenant: Tenant, **values: Any) -> Invoice:
    """The first month's invoice: 29.00."""
    subscribe(tenant, **values)
    with scope(tenant.organization):
        return services.close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)


def give(tenant: Tenant, amount: int) -> None:
    """Credits, to be burned."""
    with scope(tenant.organization):
        grant(actor=SYSTEM, amount=amount, currency="usd", category="paid", reason="A test", ref=uuid4().hex)


def test_credits_pay_as_far_as_they_go(tenant: Tenant) -> None:
    give(tenant, 10_00)
    invoice = open_invoice(tenant)
    assert (invoice.subtotal, invoice.credited, invoice.total, invoice.state) == (29_00, 10_00, 19_00, "open")
    with scope(tenant.organization):
        line = invoice.lines.get(kind="credit")
        assert (line.amount, line.description) == (-10_00, "Paid with credits")
        assert balance("usd") == 0


def test_an_invoice_that_credits_cover_is_paid(tenant: Tenant) -> None:
    give(tenant, 100_00)
    invoice = open_invoice(tenant)
    assert (invoice.total, invoice.state) == (0, "paid")
    with scope(tenant.organization):
        assert balance("usd") == 71_00


def test_credits_are_not_burned_for_what_stripe_collects(tenant: Tenant) -> None:
    give(tenant, 100_00)
    open_invoice(tenant, source=Source.STRIPE, stripe_id=f"sub_{tenant.organization.pk.hex}")
    with scope(tenant.organization):
        assert balance("usd") == 100_00


def test_a_correction_in_the_customer_s_favour_becomes_credits(committed: Tenant) -> None:
    subscribe(committed, interval="yearly", period_end=month_after(START, 12))
    used(committed, 12 * 10**9, START, Meter.STORED_BYTES)
    with scope(committed.organization):
        first = services.close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)
        assert first.subtotal == 290_00 + 50
    used(committed, 10 * 10**9, START + timedelta(days=1), Meter.STORED_BYTES)  # the average falls to 11 GB
    with scope(committed.organization):
        second = services.close_period(actor=SYSTEM, period=NEXT, now=NEXT_CLOSED_AT)
        assert (second.subtotal, second.credited, second.total, second.state) == (-25, -25, 0, "paid")
        assert balance("usd") == 25


def test_money_that_came_by_bank_settles_an_invoice_once(tenant: Tenant) -> None:
    invoice = open_invoice(tenant)
    with scope(tenant.organization):
        paid = services.mark_paid(actor=tenant.actor, invoice_id=invoice.pk, reference=" Wire 4711 ")
        again = services.mark_paid(actor=tenant.actor, invoice_id=invoice.pk, reference="Wire 4711")
        assert (paid.state, again.settlement, again.total) == ("paid", "Wire 4711", 29_00)
        with pytest.raises(NotOpen):
            services.mark_paid(actor=tenant.actor, invoice_id=invoice.pk, reference="Wire 4712")
        with pytest.raises(NotOpen):
            services.void(actor=tenant.actor, invoice_id=invoice.pk, reason="Too late")
        [event] = AuditEvent.objects.filter(action="billing.invoice.paid")
        assert event.metadata == {"total": 29_00, "currency": "usd", "words": "Wire 4711"}


def test_a_void_invoice_gives_its_credits_back(tenant: Tenant) -> None:
    give(tenant, 10_00)
    invoice = open_invoice(tenant)
    with scope(tenant.organization):
        services.void(actor=tenant.actor, invoice_id=invoice.pk, reason="Wrong customer")
        assert balance("usd") == 10_00
        assert AuditEvent.objects.filter(action="billing.invoice.voided").count() == 1
        next_one = services.close_period(actor=SYSTEM, period=NEXT, now=NEXT_CLOSED_AT)
        assert next_one.subtotal == 29_00  # what was void is not billed again


@pytest.mark.parametrize("settle", [services.write_off, services.void])
def test_what_nobody_asks_for_any_more_gives_access_back(settle: Callable[..., Invoice], tenant: Tenant) -> None:
    invoice = open_invoice(tenant)
    with scope(tenant.organization):
        long_ago = timezone.now() - timedelta(days=90)
        dunning.payment_failed(actor=SYSTEM, invoice_ref=str(invoice), amount=29_00, currency="usd", failed_at=long_ago)
        assert Organization.objects.get().access != "full"
        settle(actor=tenant.actor, invoice_id=invoice.pk, reason="Insolvent")
        assert Organization.objects.get().access == "full"


def test_writing_off_is_in_the_trail(tenant: Tenant) -> None:
    invoice = open_invoice(tenant)
    with scope(tenant.organization):
        services.write_off(actor=tenant.actor, invoice_id=invoice.pk, reason="Insolvent")
        assert AuditEvent.objects.get(action="billing.invoice.written_off").metadata["words"] == "Insolvent"


def test_what_cannot_be_settled_here_is_refused(tenant: Tenant, stranger: Tenant) -> None:
    invoice = open_invoice(tenant)
    elsewhere = open_invoice(stranger, source=Source.STRIPE, stripe_id=f"sub_{stranger.organization.pk.hex}")
    with scope(tenant.organization):
        with pytest.raises(NotFound):
            services.mark_paid(actor=tenant.actor, invoice_id=elsewhere.pk, reference="x")
        with pytest.raises(Invalid):
            services.mark_paid(actor=tenant.actor, invoice_id=invoice.pk, reference=" ")
        tomorrow = timezone.now() + timedelta(days=1)
        with pytest.raises(Invalid):
            services.mark_paid(actor=tenant.actor, invoice_id=invoice.pk, reference="x", paid_at=tomorrow)
    with scope(stranger.organization), pytest.raises(Conflict):
        services.mark_paid(actor=stranger.actor, invoice_id=elsewhere.pk, reference="x")


def test_an_invoice_of_ours_that_is_not_paid_by_its_date_is_overdue_from_then(tenant: Tenant) -> None:
    invoice = open_invoice(tenant)
    assert invoice.due_at is not None
    dunning.advance_due(now=invoice.due_at - timedelta(seconds=1))
    with scope(tenant.organization):
        assert Dunning.objects.get().state == "ok"
    dunning.advance_due(now=invoice.due_at)
    with scope(tenant.organization):
        assert Dunning.objects.get().state == "past_due"
        services.mark_paid(actor=tenant.actor, invoice_id=invoice.pk, reference="Wire 4711")
        assert Dunning.objects.get().state == "ok"
