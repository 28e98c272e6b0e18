"""Days pass in the simulator for one organization, by its own hand, and nowhere else."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from billing.credits.selectors import balance
from billing.credits.services import grant
from billing.invoicing.models import Invoice
from billing.models import BillingAccount, Dunning, Subscription
from billing.plans import current
from billing.services import time_machine
from billing.stripe_client import client
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import SYSTEM
from tenancy.clock import here
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.billing.shop import DECLINED_CARD, give_card
from tests.factories import Tenant


def advance(tenant: Tenant, days: int) -> Any:
    return time_machine.advance(organization_id=tenant.organization.pk, actor=tenant.actor, days=days)


def test_time_passes_for_one_customer_and_is_recorded(tenant: Tenant, stranger: Tenant, buy: Buy) -> None:
    customers = {}
    for one in (tenant, stranger):
        buy(one, "pro")
        with scope(one.organization):
            customers[one.organization.pk] = str(BillingAccount.objects.get().stripe_customer_id)
    mine, theirs = (customers[one.organization.pk] for one in (tenant, stranger))
    before = time_machine.time_of(theirs)
    now = advance(tenant, 40)
    assert now - before >= timedelta(days=40)
    assert abs(time_machine.time_of(mine) - now) < timedelta(seconds=2)
    assert time_machine.time_of(theirs) - before < timedelta(days=1)
    with scope(stranger.organization):
        assert Organization.objects.get().clock_ahead == timedelta(0)
    with scope(tenant.organization):
        assert Organization.objects.get().clock_ahead == timedelta(days=40)
        event = AuditEvent.objects.get(action=actions.BILLING_TIME_PASSED.name)
    assert event.metadata["days"] == 40


def test_credits_pay_the_renewals_on_the_way(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro")
    with scope(tenant.organization):
        grant(actor=SYSTEM, amount=1000, currency="usd", category="paid", reason="A test", ref="credits")
    advance(tenant, 40)
    with scope(tenant.organization):
        assert balance("usd") == 0
        customer = str(BillingAccount.objects.get().stripe_customer_id)
    assert client().invoices(customer, "paid")[0]["total"] == current("pro").monthly - 1000


def test_who_does_not_pay_loses_access_as_the_days_pass(tenant: Tenant, buy: Buy) -> None:
    def standing() -> tuple[str, str]:
        with scope(tenant.organization):
            row = Dunning.objects.first()
            return (row.state if row else "ok", Organization.objects.get().access)

    buy(tenant, "pro")
    customer = give_card(tenant, DECLINED_CARD)
    with scope(tenant.organization):
        subscription = str(Subscription.objects.get().stripe_id)
    client().update_subscription(subscription, {"default_payment_method": ""}, key="")
    seen = []
    for days in (7, 40, 7, 7, 7, 40):
        advance(tenant, days)
        seen.append(standing())
    assert seen[0] == ("ok", "full")
    assert seen[1:4] == [("restricted", "read_only")] * 2 + [("suspended", "suspended")]
    assert seen[-1] == ("cancelled", "suspended")
    assert client().invoices(customer, "open")


def test_only_leaps_of_a_day_a_week_or_a_month_and_more(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro")
    for days in (0, -1, 2, 10**9):
        with pytest.raises(Invalid):
            advance(tenant, days)


def test_who_never_bought_anything_has_no_time_to_pass(tenant: Tenant) -> None:
    with pytest.raises(Conflict):
        advance(tenant, 1)


def test_where_money_moves_there_is_no_time_machine(tenant: Tenant, buy: Buy, settings: Any) -> None:
    buy(tenant, "pro")
    settings.STRIPE_SANDBOX = False
    with pytest.raises(NotFound):
        advance(tenant, 1)


def test_forty_days_bring_the_letters_states_and_invoices_in_their_order(
    tenant: Tenant, buy: Buy, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    buy(tenant, "pro")
    with django_capture_on_commit_callbacks(execute=True):
        advance(tenant, 40)
    with scope(tenant.organization):
        owner, row = Organization.objects.get(), Subscription.objects.get()
        assert row.period_start <= here() < row.period_end
        assert owner.period_start is not None  # use is counted by the real clock
        assert (owner.period_start <= timezone.now(), owner.period_end) == (True, row.period_start)
        [invoice] = Invoice.objects.all()
        assert (invoice.state, invoice.period_end) == ("paid", row.period_start)
        assert invoice.issued_at is not None
        assert abs(invoice.issued_at - invoice.period_end - timedelta(days=1)) < 2 * timedelta(days=1)
    assert [letter.subject.partition(" ")[0] for letter in mail.outbox] == ["Invoice", "Invoice"]
