"""A renewal that is not paid ends the subscription when the window is over; the data stays."""

from datetime import timedelta

import pytest
from django.utils import timezone

from billing import tasks
from billing.models import Debt, Dunning, Source, Status, Subscription
from billing.plans import Interval, current
from billing.sandbox import clock
from billing.services.dunning import advance_due, payment_failed, payment_succeeded
from billing.services.prices import items_for
from billing.services.unpaid import end_unpaid_subscription
from billing.stripe_client import StripeRefused, client
from billing.stripe_events import refresh
from tenancy.audit import actions
from tenancy.audit import selectors as trail
from tenancy.audit.services import SYSTEM
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.shop import DECLINED_CARD, GOOD_CARD, give_card, publish
from tests.factories import Tenant

DAY = timedelta(days=1)


def standing(tenant: Tenant) -> tuple[str, str, str]:
    """The tenant's dunning, access and subscription."""
    with scope(tenant.organization):
        row = Dunning.objects.first()
        return (row.state if row else "ok", Organization.objects.get().access, Subscription.objects.get().status)


@pytest.fixture
def subscribed(tenant: Tenant) -> tuple[Tenant, str]:
    """A tenant on the pro plan whose next payment will fail, and its customer."""
    publish()
    customer = give_card(tenant, GOOD_CARD)
    plan = current("pro")
    found = client().create_subscription(customer, items_for(plan, Interval.MONTHLY, 0), trial=None, key="")
    client().pay(str(found["latest_invoice"]), key="")
    refresh("subscription", found["id"])
    give_card(tenant, DECLINED_CARD)
    return tenant, customer


def hear(customer: str) -> None:
    """Let the events of the customer's invoices and subscriptions arrive."""
    for kind, path in (("invoice", "invoices"), ("subscription", "subscriptions")):
        for found in client()._pages(path, {"customer": customer}):
            refresh(kind, found["id"])


def test_a_renewal_that_fails_ends_the_subscription_when_the_window_is_over(subscribed: tuple[Tenant, str]) -> None:
    tenant, customer = subscribed
    assert standing(tenant) == ("ok", "full", "active")
    clock.advance(customer, 33 * DAY)
    hear(customer)
    assert standing(tenant) == ("past_due", "full", "past_due")
    with scope(tenant.organization):
        failed = Debt.objects.get(settled_at=None).failed_at
    assert failed is not None
    advance_due(now=failed + 15 * DAY)
    assert standing(tenant)[:2] == ("restricted", "read_only")
    advance_due(now=failed + 61 * DAY)
    assert standing(tenant)[:2] == ("cancelled", "suspended")
    tasks.end_unpaid_subscription(organization_id=str(tenant.organization.pk))
    assert standing(tenant) == ("cancelled", "suspended", "canceled")
    with scope(tenant.organization):
        assert Organization.objects.get().closed_at is None


def test_a_payment_in_time_keeps_the_subscription(subscribed: tuple[Tenant, str]) -> None:
    tenant, customer = subscribed
    clock.advance(customer, 33 * DAY)
    hear(customer)
    give_card(tenant, GOOD_CARD)
    for found in client()._pages("invoices", {"customer": customer}):
        if found["status"] == "open":
            client().pay(found["id"], key="")
    hear(customer)
    assert standing(tenant) == ("ok", "full", "active")


def test_a_contract_ends_without_stripe(tenant: Tenant) -> None:
    now = timezone.now()
    with scope(tenant.organization):
        Subscription.objects.create(
            plan_key="scale",
            plan_version=current("scale").version,
            status=Status.ACTIVE,
            source=Source.CONTRACT,
            period_start=now,
            period_end=now + 30 * DAY,
        )
        payment_failed(actor=SYSTEM, invoice_ref="C-1", amount=100, currency="usd", failed_at=now - 60 * DAY, now=now)
        assert Dunning.objects.get().next_at is not None
    end_unpaid_subscription(organization_id=tenant.organization.pk)
    assert standing(tenant) == ("cancelled", "suspended", "canceled")
    with scope(tenant.organization):
        assert actions.BILLING_SUBSCRIPTION_ENDED.name in [event.action for event in trail.events()]
    advance_due(now=now + 2 * DAY)
    with scope(tenant.organization):
        assert Dunning.objects.get().next_at is None
        payment_succeeded(actor=SYSTEM, invoice_ref="C-1")
    assert standing(tenant) == ("ok", "full", "canceled")


def test_whoever_has_paid_meanwhile_keeps_what_they_have(subscribed: tuple[Tenant, str]) -> None:
    tenant, _ = subscribed
    end_unpaid_subscription(organization_id=tenant.organization.pk)
    assert standing(tenant) == ("ok", "full", "active")


def test_a_first_payment_that_is_refused_is_no_debt(tenant: Tenant) -> None:
    publish()
    customer = give_card(tenant, DECLINED_CARD)
    items = items_for(current("pro"), Interval.MONTHLY, 0)
    found = client().create_subscription(customer, items, trial=None, key="")
    with pytest.raises(StripeRefused, match="declined"):
        client().pay(str(found["latest_invoice"]), key="")
    hear(customer)
    assert standing(tenant) == ("ok", "full", "incomplete")
