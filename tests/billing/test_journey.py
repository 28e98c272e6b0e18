"""From the simulator's signed webhooks over real HTTP to the plan: nothing but events brings it about."""

import random
from datetime import timedelta
from typing import Any

import pytest

from billing.models import BillingAccount, Document, StripeEvent, Subscription
from billing.sandbox import clock, delivery
from billing.stripe_events import process
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.shop import end_what_is_under_way, pay_there, publish, to_checkout
from tests.factories import Tenant
from tests.live import LiveServer


@pytest.fixture
def customer(live: LiveServer, live_tenant: Tenant, settings: Any) -> str:
    """The tenant at the end of a checkout, of which only Stripe knows yet."""
    settings.PUBLIC_URL = live.url
    end_what_is_under_way()
    publish()
    url = to_checkout(live_tenant, f"{live.url}/o/x/billing/")
    pay_there(url)
    with scope(live_tenant.organization):
        return str(BillingAccount.objects.get().stripe_customer_id)


def hear() -> None:
    """Let everything that is owed arrive, and be dealt with."""
    delivery.deliver()
    while process():
        pass


def test_a_purchase_and_a_renewal_arrive_by_webhooks_alone(live_tenant: Tenant, customer: str) -> None:
    hear()
    with scope(live_tenant.organization):
        bought = Subscription.objects.get()
        assert (bought.plan_key, bought.status) == ("pro", "active")
        assert Organization.objects.get().project_limit == 25
        assert Document.objects.get().status == "paid"
    clock.advance(customer, timedelta(days=32))
    hear()
    with scope(live_tenant.organization):
        renewed = Subscription.objects.get()
        assert renewed.period_start == bought.period_end
        assert list(Document.objects.values_list("status", flat=True)) == ["paid", "paid"]


def test_events_that_come_twice_and_backwards_end_where_they_would_have(live_tenant: Tenant, customer: str) -> None:
    clock.advance(customer, timedelta(days=32))
    hear()
    mine = StripeEvent.objects.filter(body__data__object__customer=customer)
    with scope(live_tenant.organization):
        before = Subscription.objects.values("plan_key", "status", "period_start").get()
        documents = list(Document.objects.order_by("stripe_id").values_list("stripe_id", "status", "total"))
    for seed in range(3):
        events = list(mine.values_list("pk", flat=True))
        random.Random(seed).shuffle(events)
        for event in events:
            StripeEvent.objects.filter(pk=event).update(status="new", claimed_until=None)
            process()
    with scope(live_tenant.organization):
        assert Subscription.objects.values("plan_key", "status", "period_start").get() == before
        after = list(Document.objects.order_by("stripe_id").values_list("stripe_id", "status", "total"))
    assert after == documents
