"""Where a contract stands: what each step commits to, what was used of it, and what true-up to expect."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from billing.invoicing import services
from billing.invoicing.models import Invoice
from billing.invoicing.selectors.standing import Standing, standing
from billing.invoicing.services import Offer, mark_paid, sign_contract
from billing.metering.meters import Meter
from billing.money import month_after
from billing.plans import Allowance, Included
from billing.services import dunning
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.billing.invoicing.conftest import sign, used
from tests.factories import Tenant
from tests.sums import catch_up

OPERATIONS = {Allowance.OPERATIONS: Included(1_000, Decimal(1))}


def read(tenant: Tenant) -> Standing:
    with scope(tenant.organization):
        found = standing()
    assert found is not None
    return found


@pytest.fixture
def start() -> datetime:
    """40 days ago: a month is over, and some days of the second have passed."""
    return timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=40)


def test_without_a_contract_there_is_no_standing(tenant: Tenant) -> None:
    with scope(tenant.organization):
        assert standing() is None


def test_a_step_says_what_was_used_and_what_true_up_to_expect(committed: Tenant, start: datetime) -> None:
    sign(committed, starts_at=start, steps=[(3, 100_000), (9, 900_000)], fee=10_000, allowances=OPERATIONS)
    used(committed, 6_000, start + timedelta(days=1), Meter.INGEST)
    services.close_due(now=timezone.now())
    used(committed, 1_500, month_after(start, 1) + timedelta(days=1), Meter.INGEST)
    catch_up()
    found = read(committed)
    assert found.state == "runs"
    first, second = found.steps
    assert found.current == first
    assert (first.billed, first.running) == (15_000, 10_500)
    assert (first.used, first.left) == (25_500, 74_500)
    share = (first.step.end - first.step.start) / (found.as_of - first.step.start)
    assert first.expected == pytest.approx(30_000 + 5_500 * share, abs=1)
    assert first.true_up == 100_000 - first.expected
    assert (second.used, second.expected, second.true_up) == (0, 90_000, 810_000)
    assert [month.spent for month in found.months[:3]] == [15_000, 10_500, 0]
    assert sum(month.commit for month in found.months[:3]) == 100_000
    assert sum(month.commit for month in found.months) == 1_000_000


def test_a_paid_commit_has_no_true_up(committed: Tenant, start: datetime) -> None:
    sign(committed, starts_at=start, steps=[(12, 500_000)], fee=0, commit_paid="prepaid")
    [step] = read(committed).steps
    assert (step.true_up, step.left) == (0, 500_000)


def test_a_contract_to_come_says_when_and_the_one_after_it_is_named(tenant: Tenant) -> None:
    now = timezone.now()
    offers: list[dict[str, Any]] = [
        {"reference": "C-1", "starts_at": now + timedelta(days=3), "steps": [(1, 0)], "seats": 120},
        {"reference": "C-2", "starts_at": month_after(now + timedelta(days=3), 1), "steps": [(12, 100)]},
    ]
    with scope(tenant.organization):
        for offer in offers:
            sign_contract(actor=tenant.actor, offer=Offer(plan_key="enterprise", fee=1, **offer), now=now)
    found = read(tenant)
    assert (found.contract.reference, found.state, found.current, found.seats) == ("C-1", "starts", None, 120)
    assert found.follows is not None
    assert found.follows.reference == "C-2"


def test_what_is_over_is_shown_when_nothing_follows(committed: Tenant, start: datetime) -> None:
    sign(committed, starts_at=start, steps=[(1, 20_000)], fee=5_000)
    services.close_due(now=timezone.now())
    found = read(committed)
    [step] = found.steps
    assert (found.state, step.billed, step.expected, step.true_up) == ("ended", 5_000, 5_000, 15_000)


def test_bought_seats_count_where_they_are_more_than_the_members(committed: Tenant, start: datetime) -> None:
    sign(committed, starts_at=start, seats=103, seat_price=7, fee=100)
    assert read(committed).steps[0].running == 100 + 3 * 7


def test_a_contract_lives_from_signing_to_payment_without_any_stripe(
    committed: Tenant, start: datetime, settings: Any
) -> None:
    settings.STRIPE_SANDBOX, settings.STRIPE_API_KEY = False, ""
    sign(committed, starts_at=start, steps=[(1, 20_000)], fee=5_000, po_number="PO 4711", net_days=14)
    services.begin_due(now=timezone.now())
    services.close_due(now=timezone.now())
    with scope(committed.organization):
        invoice = Invoice.objects.get()
        assert (invoice.state, invoice.total, invoice.po_number) == ("open", 20_000, "PO 4711")
        assert (invoice.number or "").endswith("-0001")
        assert invoice.issued_at is not None
        assert invoice.due_at == invoice.issued_at + timedelta(days=14)
    dunning.advance(organization_id=committed.organization.pk, now=invoice.due_at + timedelta(days=1))
    with scope(committed.organization):
        paid = mark_paid(actor=committed.actor, invoice_id=invoice.pk, reference="SEPA 12")
        assert (paid.state, paid.settlement) == ("paid", "SEPA 12")
        actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"billing.contract.signed", "billing.invoice.opened", "billing.invoice.paid"} <= actions
