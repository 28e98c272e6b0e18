"""What happens to customers' money reaches their endpoints, in the words of the catalogue."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from django.utils import timezone

from billing.credits.models import TopUp
from billing.credits.services import auto_top_ups, top_ups
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.services import close_period, settling
from billing.metering.models import UsageHour
from billing.models import Status, Subscription
from billing.quotas import notices
from billing.quotas import services as quotas
from billing.quotas.models import Counter
from billing.quotas.selectors import span_of
from billing.services import dunning, trials
from billing.stripe_client import client
from billing.stripe_events import refresh
from tenancy.audit.services import SYSTEM
from tenancy.models import Organization
from tenancy.scope import scope
from tenancy.webhooks import services
from tenancy.webhooks.models import Delivery
from tests.billing.invoicing.conftest import CLOSED_AT, PERIOD, subscribe
from tests.billing.shop import pay_there, publish, to_checkout
from tests.factories import Tenant

Told = Callable[[], list[tuple[str, dict[str, Any]]]]


@pytest.fixture
def told(tenant: Tenant) -> Told:
    """An endpoint that wants everything; gives what waits for it, in order."""
    with scope(tenant.organization):
        services.create(actor=tenant.actor, url="https://hooks.example.com/")

    def read() -> list[tuple[str, dict[str, Any]]]:
        with scope(tenant.organization):
            bodies = Delivery.objects.order_by("number").values_list("event__type", "event__body")
            return [(kind, orjson.loads(body)["data"]) for kind, body in bodies]

    return read


def test_a_threshold_and_a_cap_are_told_once(tenant: Tenant, told: Told) -> None:
    with scope(tenant.organization):
        organization = Organization.objects.get()
        start = span_of("period").starts_at
        cap = {"allowance": "operations", "level": "organization", "subject_id": organization.pk}
        Counter.objects.create(**cap, span="period", starts_at=start, used=25_000)
    notices.say_crossed()
    notices.say_crossed()
    found = told()
    assert [(kind, data.get("percent")) for kind, data in found] == [
        ("billing.threshold.crossed", 50),
        ("billing.threshold.crossed", 80),
        ("billing.threshold.crossed", 100),
        ("billing.cap.reached", None),
    ]
    assert found[-1][1]["subject_id"] == str(organization.pk)
    assert found[-1][1]["sentence"].startswith("100 % of the 25,000 operations")


def test_a_raised_cap_and_one_that_is_taken_away_are_told(tenant: Tenant, told: Told) -> None:
    with scope(tenant.organization):
        which: Any = {
            "allowance": "operations",
            "level": "project",
            "subject_id": tenant.project.pk,
            "reaction": "stop",
        }
        for amount in (100, 50, 200):
            cap = quotas.set_cap(actor=tenant.actor, amount=amount, **which)
        quotas.clear_cap(actor=tenant.actor, cap_id=cap.pk)
    assert [(kind, data["limit"]) for kind, data in told()] == [
        ("billing.cap.lifted", 200),
        ("billing.cap.lifted", None),
    ]


def test_unusual_use_is_told_once_as_long_as_it_lasts(tenant: Tenant, told: Told) -> None:
    now = timezone.now().replace(minute=0, second=0, microsecond=0)

    def use(ago: int, quantity: int) -> None:
        UsageHour.objects.create(
            project_id=tenant.project.pk,
            key_id=tenant.key.pk,
            meter="recall",
            hour=now - timedelta(hours=ago),
            quantity=quantity,
            events=quantity,
        )

    with scope(tenant.organization):
        for ago in range(2, 168):
            use(ago, 300 + ago % 20)
        use(1, 2_100)
    for _ in range(2):
        notices.say_unusual(now=now)
    with scope(tenant.organization):
        use(0, 2_500)
    notices.say_unusual(now=now + timedelta(minutes=30))
    [(kind, data)] = told()
    assert (kind, data["meter"], data["subject_id"]) == ("billing.usage.unusual", "recall", str(tenant.key.pk))
    assert (data["used"], datetime.fromisoformat(data["since"])) == (2_100, now - timedelta(hours=1))


def test_an_unpaid_invoice_is_told_step_by_step_and_its_payment_too(tenant: Tenant, told: Told) -> None:
    failed = timezone.now()
    with scope(tenant.organization):
        owed: Any = {"actor": SYSTEM, "invoice_ref": "in_1", "amount": 2_900, "currency": "usd", "failed_at": failed}
        dunning.payment_failed(**owed, now=failed)
        dunning.payment_failed(**owed, now=failed)
    for days in (15, 29, 61):
        dunning.advance(organization_id=tenant.organization.pk, now=failed + timedelta(days=days))
    with scope(tenant.organization):
        dunning.payment_succeeded(actor=SYSTEM, invoice_ref="in_1", now=failed + timedelta(days=62))
    found = told()
    assert [kind for kind, _ in found] == [
        "billing.payment.failed",
        "billing.access.past_due",
        "billing.access.restricted",
        "billing.access.suspended",
        "billing.access.cancelled",
        "billing.access.recovered",
    ]
    assert found[0][1] == {"invoice": "in_1", "amount_due": 2_900, "currency": "usd"}
    assert datetime.fromisoformat(found[1][1]["changes_at"]) == failed + timedelta(days=14)
    assert found[-1][1] == {"before": "cancelled", "changes_at": None}


def test_an_invoice_that_is_paid_is_told(tenant: Tenant, told: Told) -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    with scope(tenant.organization):
        invoice = Invoice.objects.create(
            period_start=start, period_end=end, source=Invoice.Source.MANUAL, currency="usd", terms={}
        )
        InvoiceLine.objects.create(
            invoice=invoice,
            place=1,
            kind=InvoiceLine.Kind.PLAN,
            period_start=start,
            description="Pro plan",
            quantity=1,
            unit_price=Decimal(29_00),
            amount=29_00,
            remainder=Decimal(0),
            how={},
        )
        Invoice.objects.update(state=Invoice.State.OPEN, number="A-1", subtotal=2_900, total=2_900, watermark="1:1:")
        settling.mark_paid(actor=SYSTEM, invoice_id=invoice.pk, reference="bank 1", paid_at=timezone.now())
    [(kind, data)] = told()
    assert kind == "billing.invoice.paid"
    assert (data["number"], data["total"], data["period_end"]) == ("A-1", 2_900, "2026-02-01T00:00:00Z")


def test_a_purchase_and_its_end_are_told_once_as_changes_of_the_plan(tenant: Tenant, told: Told) -> None:
    publish()
    page = to_checkout(tenant)
    bought = pay_there(page)["subscription"]
    for _ in range(2):
        refresh("subscription", bought)
    begun = [data for kind, data in told() if kind == "billing.plan.changed"]
    client().end_subscription(bought, key="")
    for _ in range(2):
        refresh("subscription", bought)
    changes = [data for kind, data in told() if kind == "billing.plan.changed"]
    assert begun == [{"before": "free", "after": "pro"}]
    assert changes == [*begun, {"before": "pro", "after": "free"}]


def test_the_end_of_a_trial_is_told_once_at_each_of_its_steps(tenant: Tenant, told: Told) -> None:
    now = timezone.now()
    ends_at = now + timedelta(days=2)
    with scope(tenant.organization):
        Subscription.objects.create(
            plan_key="pro",
            plan_version=1,
            status=Status.TRIALING,
            period_start=now,
            period_end=ends_at,
            trial_end=ends_at,
            cancel_at=ends_at,
        )
    steps = []
    for at in (now, now, ends_at - timedelta(hours=12), ends_at - timedelta(hours=6)):
        trials.remind_due(now=at)
        steps.append(len(told()))
    assert steps == [1, 1, 2, 2]
    kind, data = told()[-1]
    assert (kind, data["plan"], data["continues"]) == ("billing.trial.ending", "pro", False)
    assert datetime.fromisoformat(data["ends_at"]) == ends_at


def test_an_invoice_that_is_closed_is_told_once(tenant: Tenant, told: Told) -> None:
    subscribe(tenant)
    for _ in range(2):
        with scope(tenant.organization):
            invoice = close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)
    [data] = [data for kind, data in told() if kind == "billing.invoice.closed"]
    assert (data["invoice_id"], data["number"]) == (str(invoice.pk), invoice.number)
    assert (data["total"], data["period_end"]) == (29_00, "2026-09-01T00:00:00Z")


def test_low_credits_and_their_top_up_are_told(tenant: Tenant, told: Told) -> None:
    with scope(tenant.organization):
        auto_top_ups.configure(
            actor=tenant.actor, currency="usd", is_on=True, threshold=1_000, amount=5_000, monthly_maximum=10_000
        )
        wish = auto_top_ups.request_if_low(currency="usd", balance=400, now=timezone.now())
        assert wish is not None
        top_ups.settle(top_up_id=wish.pk, payment_ref="in_2")
        top_ups.settle(top_up_id=wish.pk, payment_ref="in_2")
        assert TopUp.objects.get().state == TopUp.State.PAID
    found = told()
    assert [kind for kind, _ in found] == [
        "billing.credits.low",
        "billing.credits.topped_up",
    ]
    assert found[0][1] == {"balance": 400, "currency": "usd", "threshold": 1_000}
    assert found[1][1] == {"amount": 5_000, "currency": "usd"}
