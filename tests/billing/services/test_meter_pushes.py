"""Stripe's meters hear of every use once, whoever dies in between and however long it takes."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.models import BillingAccount, MeterPush, Subscription
from billing.money import month_after
from billing.sandbox.models import MeteredEvent
from billing.services import meter_pushes
from billing.services.meter_pushes import collect, deliver, push_all
from billing.stripe_client import StripeClient, StripeUnavailable, client
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.factories import Tenant

Count = Callable[[Meter, int], None]
HOUR = timedelta(hours=1)


@pytest.fixture
def customer(tenant: Tenant, buy: Buy) -> str:
    """A tenant who bought pro two days ago."""
    buy(tenant)
    with scope(tenant.organization):
        Subscription.objects.update(created_at=timezone.now() - timedelta(days=2))
        return str(BillingAccount.objects.get().stripe_customer_id)


@pytest.fixture
def hour() -> datetime:
    return timezone.now().replace(minute=0, second=0, microsecond=0) - HOUR


@pytest.fixture
def count(tenant: Tenant, hour: datetime) -> Count:
    """Adds to the hour's sum of a meter."""

    def add(meter: Meter, quantity: int) -> None:
        with scope(tenant.organization):
            row, _ = UsageHour.objects.get_or_create(
                project_id=tenant.project.pk, key_id=None, meter=meter, hour=hour, defaults={"quantity": 0, "events": 0}
            )
            row.quantity += quantity
            row.save()

    return add


def push(tenant: Tenant) -> int:
    collect(organization_id=tenant.organization.pk)
    return deliver(organization_id=tenant.organization.pk)


def at_stripe(customer: str, hour: datetime, name: str = "operations") -> int:
    [meter] = [one["id"] for one in client().meters() if one["event_name"] == name]
    return client().usage_sum(meter_id=meter, customer=customer, start=hour, end=hour + HOUR)


def test_what_was_used_is_told_once_and_growth_after_it(
    tenant: Tenant, customer: str, hour: datetime, count: Count
) -> None:
    count(Meter.INGEST, 7)
    count(Meter.RECALL, 5)
    count(Meter.READ, 1000)  # is in no allowance
    assert [push(tenant), push(tenant)] == [2, 0]
    assert at_stripe(customer, hour) == 12
    count(Meter.INGEST, 3)
    assert push(tenant) == 1
    assert at_stripe(customer, hour) == 15
    with scope(tenant.organization):
        parts = list(MeterPush.objects.filter(meter="ingest").order_by("start").values_list("start", "end"))
    assert parts == [(0, 7), (7, 10)]


def test_use_before_the_subscription_costs_nothing(tenant: Tenant, customer: str, hour: datetime, count: Count) -> None:
    with scope(tenant.organization):
        Subscription.objects.update(created_at=hour + timedelta(minutes=1))
    count(Meter.INGEST, 7)
    assert push(tenant) == 0


def test_an_hour_that_a_renewal_cuts_is_of_the_period_that_begins_in_it(
    tenant: Tenant, customer: str, hour: datetime, count: Count
) -> None:
    boundary = hour + timedelta(minutes=20)
    with scope(tenant.organization):
        Subscription.objects.update(period_end=boundary)
    count(Meter.INGEST, 7)
    assert push(tenant) == 0  # nobody has heard of the renewal yet
    with scope(tenant.organization):
        Subscription.objects.update(period_start=boundary, period_end=boundary + timedelta(days=30))
    assert push(tenant) == 1
    assert MeteredEvent.objects.get(customer=customer).occurred_at == int(boundary.timestamp())


def test_the_gauges_of_the_first_month_are_told_too(tenant: Tenant, customer: str) -> None:
    renewed = timezone.now()
    start = month_after(renewed, -1)
    with scope(tenant.organization):
        Subscription.objects.update(created_at=start + timedelta(seconds=5), period_start=renewed)
        UsageHour.objects.create(
            project_id=tenant.project.pk,
            key_id=None,
            meter=Meter.END_USER,
            hour=(start + timedelta(days=3)).replace(minute=0, second=0, microsecond=0),
            quantity=11,
            events=1,
        )
    assert push(tenant) == 1


def test_documents_are_told_to_a_meter_of_their_own(
    tenant: Tenant, customer: str, hour: datetime, count: Count
) -> None:
    count(Meter.DOCUMENT, 4)
    push(tenant)
    assert (at_stripe(customer, hour, "documents"), at_stripe(customer, hour)) == (4, 0)


def test_end_users_are_told_when_their_month_is_over(tenant: Tenant, customer: str) -> None:
    now = timezone.now()
    start = now - timedelta(days=2)
    with scope(tenant.organization):
        Subscription.objects.update(created_at=start - timedelta(days=40), period_start=start)
        UsageHour.objects.create(
            project_id=tenant.project.pk,
            key_id=None,
            meter=Meter.END_USER,
            hour=(start - timedelta(days=3)).replace(minute=0, second=0, microsecond=0),
            quantity=11,
            events=1,
        )
    assert push(tenant) == 1
    assert push(tenant) == 0
    last = (start - HOUR).replace(minute=0, second=0, microsecond=0)
    assert at_stripe(customer, last, "end_users") == 11


def test_a_push_that_was_not_confirmed_is_sent_again_and_counts_once(
    tenant: Tenant, customer: str, hour: datetime, count: Count
) -> None:
    count(Meter.INGEST, 7)
    push(tenant)
    with scope(tenant.organization):
        MeterPush.objects.update(delivered_at=None)
    kept = MeteredEvent.objects.get(customer=customer)
    assert push(tenant) == 1
    assert at_stripe(customer, hour) == 7
    assert MeteredEvent.objects.get(customer=customer).pk == kept.pk


def test_stripe_s_word_that_it_knows_the_identifier_is_a_confirmation(
    tenant: Tenant, customer: str, hour: datetime, count: Count
) -> None:
    count(Meter.INGEST, 7)
    collect(organization_id=tenant.organization.pk)
    with scope(tenant.organization):
        waiting = MeterPush.objects.get()
    # somebody else's request with the same identifier, so that the idempotency key does not answer
    form = {"event_name": "operations", "identifier": waiting.identifier, "timestamp": int(hour.timestamp())}
    client()._post(
        "billing/meter_events", form | {"payload": {"stripe_customer_id": customer, "value": "7"}}, "another key"
    )
    assert deliver(organization_id=tenant.organization.pk) == 1
    assert at_stripe(customer, hour) == 7


@pytest.mark.parametrize("has_arrived", [True, False])
def test_a_push_of_yesterday_is_looked_up_before_it_is_sent_again(
    tenant: Tenant, customer: str, hour: datetime, count: Count, *, has_arrived: bool
) -> None:
    count(Meter.INGEST, 7)
    count(Meter.RECALL, 100)
    push(tenant)
    mine = MeteredEvent.objects.filter(customer=customer, identifier__contains=":ingest:")
    if has_arrived:
        mine.update(received_at=0, identifier="forgotten")  # Stripe knows identifiers for 24 hours
    else:
        mine.delete()
    with scope(tenant.organization):
        MeterPush.objects.filter(meter="ingest").update(
            delivered_at=None, first_sent_at=timezone.now() - timedelta(hours=25), identifier="another"
        )
    assert deliver(organization_id=tenant.organization.pk) == 1
    assert at_stripe(customer, hour) == 107


class Killed(Exception):
    """The sender died."""


def test_senders_that_die_anywhere_lose_nothing_and_double_nothing(
    tenant: Tenant, customer: str, hour: datetime, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)
    real = StripeClient.report_usage
    used = 0

    def unreliable(self: StripeClient, **values: Any) -> None:
        fate = chance.random()
        if fate < 0.2:
            raise Killed
        real(self, **values)
        if fate < 0.5:
            raise Killed if fate < 0.35 else StripeUnavailable("The answer was lost.", 1)

    monkeypatch.setattr(StripeClient, "report_usage", unreliable)
    for _ in range(40):
        grown = chance.randint(0, 9)
        count(chance.choice([Meter.INGEST, Meter.RECALL, Meter.SEAL]), grown)
        used += grown
        try:
            push(tenant)
        except (Killed, StripeUnavailable):
            continue
    monkeypatch.setattr(StripeClient, "report_usage", real)
    push(tenant)
    assert at_stripe(customer, hour) == used
    with scope(tenant.organization):
        assert not MeterPush.objects.filter(delivered_at=None).exists()


def test_one_organization_that_fails_does_not_keep_the_others(
    tenant: Tenant, customer: str, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(Meter.INGEST, 7)

    def away(self: StripeClient, **values: Any) -> None:
        raise StripeUnavailable("Away.", 30)

    monkeypatch.setattr(StripeClient, "report_usage", away)
    assert push_all() == 0
    with scope(tenant.organization):
        waiting = MeterPush.objects.get()
    assert (waiting.attempts, waiting.delivered_at) == (1, None)


def test_without_a_subscription_nothing_is_told(tenant: Tenant, shop: None, count: Count) -> None:
    count(Meter.INGEST, 7)
    assert push(tenant) == 0
    assert meter_pushes.push_all() == 0
