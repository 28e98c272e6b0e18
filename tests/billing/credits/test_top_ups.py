"""Credits are bought by hand, or by themselves when the balance falls: paid once, granted once, never in a loop."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.core import mail
from django.db import transaction
from pytest_django import DjangoCaptureOnCommitCallbacks

from billing.credits import selectors
from billing.credits.models import TopUp
from billing.credits.services import CreditsExhausted, burn
from billing.credits.services.auto_top_ups import configure
from billing.credits.services.top_ups import Order, Payment, pay, pay_due, request, settle
from billing.stripe_client import StripeRefused, StripeUnavailable
from tenancy.audit import actions
from tenancy.audit import selectors as trail
from tenancy.audit.services import SYSTEM
from tenancy.errors import Invalid, NotFound
from tenancy.scope import scope
from tests.billing.credits.conftest import Give
from tests.factories import Tenant
from tests.threads import at_once

NOW = datetime(2026, 3, 10, tzinfo=UTC)
DAY = timedelta(days=1)


class Till:
    """Takes money as it is told to, and remembers for what."""

    def __init__(self, *answers: Payment | Exception) -> None:
        self.answers = list(answers)
        self.orders: list[Order] = []

    def __call__(self, order: Order) -> Payment:
        self.orders.append(order)
        answer = self.answers.pop(0) if self.answers else Payment(f"in_{order.id}", is_paid=True)
        if isinstance(answer, Exception):
            raise answer
        return answer


DECLINED = StripeRefused("card_declined", "Your card was declined.")
AWAY = StripeUnavailable("Away.", 30)


@pytest.fixture
def automatic(tenant: Tenant, give: Give) -> Tenant:
    """A tenant with 1,000 credits that buys 1,000 below 300, at most 2,500 a month."""
    with scope(tenant.organization):
        give(1000, now=NOW)
        configure(actor=tenant.actor, currency="usd", threshold=300, amount=1000, monthly_maximum=2500)
    return tenant


def spend(tenant: Tenant, amount: int, now: datetime = NOW) -> None:
    """Burn credits of the tenant."""
    with scope(tenant.organization):
        burn(actor=SYSTEM, amount=amount, currency="usd", ref=uuid4().hex, now=now)


def wishes(tenant: Tenant) -> list[TopUp]:
    """The tenant's top-ups, newest first."""
    with scope(tenant.organization):
        return selectors.top_ups()


def balance(tenant: Tenant, now: datetime = NOW) -> int:
    """What the tenant can burn."""
    with scope(tenant.organization):
        return selectors.balance("usd", now=now)


def actions_of(tenant: Tenant) -> list[str]:
    """What the trail says."""
    with scope(tenant.organization):
        return [event.action for event in trail.events()]


def paid_with(tenant: Tenant, till: Till, now: datetime = NOW) -> None:
    """Let a worker pay the newest top-up."""
    pay(organization_id=tenant.organization.pk, top_up_id=wishes(tenant)[0].pk, cashier=till, now=now)


def test_a_balance_that_falls_below_the_threshold_buys_once(automatic: Tenant) -> None:
    spend(automatic, 700)
    assert wishes(automatic) == []
    spend(automatic, 1)
    spend(automatic, 1)
    [wish] = wishes(automatic)
    assert (wish.amount, wish.is_automatic, wish.state) == (1000, True, "requested")
    till = Till()
    paid_with(automatic, till)
    paid_with(automatic, till)
    assert len(till.orders) == 1
    assert balance(automatic) == 298 + 1000
    assert wishes(automatic)[0].state == "paid"
    assert actions.TOP_UP_REQUESTED.name in actions_of(automatic)


def test_the_task_is_queued_with_the_burn_and_not_without_it(
    automatic: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr("celery.current_app.send_task", lambda name, kwargs: sent.append((name, kwargs["top_up_id"])))
    with django_capture_on_commit_callbacks(execute=True):
        with transaction.atomic():
            spend(automatic, 800)
            transaction.set_rollback(True)
        assert wishes(automatic) == []
        spend(automatic, 800)
    assert sent == [("credits.pay_top_up", str(wishes(automatic)[0].pk))]


def test_a_month_costs_at_most_its_maximum_and_says_so_once(
    automatic: Tenant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        spend(automatic, 900)
        for _ in range(2):
            paid_with(automatic, Till())
            spend(automatic, 1000)
        for _ in range(5):
            spend(automatic, 10)
    assert [wish.state for wish in wishes(automatic)] == ["paid", "paid"]
    assert actions_of(automatic).count(actions.AUTO_TOP_UP_MAXIMUM_REACHED.name) == 1
    [letter] = mail.outbox
    assert letter.to == [automatic.owner.email]
    assert "$25.00 a month" in letter.body
    spend(automatic, 10, now=datetime(2026, 4, 1, tzinfo=UTC))
    assert [wish.state for wish in wishes(automatic)] == ["requested", "paid", "paid"]


def test_a_card_that_fails_stops_it_with_a_letter_and_never_loops(
    automatic: Tenant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    till = Till(DECLINED)
    with django_capture_on_commit_callbacks(execute=True):
        spend(automatic, 900)
        paid_with(automatic, till)
        for _ in range(5):
            spend(automatic, 10)
            pay_due(cashier=till, now=NOW + DAY)
    assert len(till.orders) == 1
    [wish] = wishes(automatic)
    assert (wish.state, wish.error) == ("failed", "Your card was declined.")
    with scope(automatic.organization):
        chosen = selectors.auto_top_up("usd")
        assert chosen is not None
        assert (chosen.stopped_at, chosen.stop_reason) == (NOW, "Your card was declined.")
    [letter] = mail.outbox
    assert "Your card was declined." in letter.body
    assert f"/o/{automatic.organization.slug}/billing/" in letter.body
    assert {actions.TOP_UP_FAILED.name, actions.AUTO_TOP_UP_STOPPED.name} <= set(actions_of(automatic))


def test_turning_it_on_again_starts_it_again(automatic: Tenant) -> None:
    spend(automatic, 900)
    paid_with(automatic, Till(Payment("in_1", is_paid=False, reason="No.")))
    with scope(automatic.organization):
        configure(actor=automatic.actor, currency="usd", threshold=300, amount=1000, monthly_maximum=2500)
    spend(automatic, 10)
    assert [wish.state for wish in wishes(automatic)] == ["requested", "failed"]
    assert actions_of(automatic).count(actions.AUTO_TOP_UP_CHANGED.name) == 2


def test_one_that_is_off_buys_nothing(automatic: Tenant) -> None:
    with scope(automatic.organization):
        configure(actor=SYSTEM, currency="usd", threshold=300, amount=1000, monthly_maximum=2500, is_on=False)
    spend(automatic, 900)
    assert wishes(automatic) == []


def test_a_provider_that_is_away_is_tried_again_later_and_later(automatic: Tenant) -> None:
    spend(automatic, 900)
    till = Till(AWAY, AWAY)
    paid_with(automatic, till)
    first = wishes(automatic)[0].due_at
    assert first == NOW + timedelta(seconds=30)
    paid_with(automatic, till, now=NOW + timedelta(seconds=29))
    assert len(till.orders) == 1
    pay_due(cashier=till, now=first)
    pay_due(cashier=till, now=NOW + timedelta(hours=1))
    assert len(till.orders) == 3
    assert wishes(automatic)[0].state == "paid"
    assert len({order.id for order in till.orders}) == 1


def test_a_provider_that_is_away_for_a_day_ends_it(automatic: Tenant) -> None:
    spend(automatic, 900)
    till = Till(AWAY)
    paid_with(automatic, till)
    pay_due(cashier=till, now=NOW + timedelta(hours=21))
    assert len(till.orders) == 1
    [wish] = wishes(automatic)
    assert wish.state == "failed"
    with scope(automatic.organization):  # but it was paid after all
        settle(top_up_id=wish.pk, payment_ref="in_late", now=NOW + DAY)
    assert balance(automatic) == 100 + 1000


def test_a_worker_that_dies_leaves_it_to_the_next(automatic: Tenant) -> None:
    spend(automatic, 900)

    def dies(order: Order) -> Payment:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pay(organization_id=automatic.organization.pk, top_up_id=wishes(automatic)[0].pk, cashier=dies, now=NOW)
    pay_due(cashier=Till(), now=NOW + timedelta(minutes=4))
    assert balance(automatic) == 100
    pay_due(cashier=Till(), now=NOW + timedelta(minutes=5))
    assert balance(automatic) == 1100


def test_eight_workers_pay_it_once(committed: Tenant) -> None:
    with scope(committed.organization):
        wish = request(actor=committed.actor, amount=2000, currency="usd", now=NOW)
    till = Till()
    work = partial(pay, organization_id=committed.organization.pk, top_up_id=wish.pk, cashier=till, now=NOW)
    at_once(*[work] * 8)
    assert len(till.orders) == 1
    assert balance(committed) == 2000


def test_a_customer_buys_credits_by_hand(tenant: Tenant) -> None:
    with scope(tenant.organization):
        wish = request(actor=tenant.actor, amount=2000, currency="usd", now=NOW)
        settle(top_up_id=wish.pk, payment_ref="in_1", now=NOW)
        settle(top_up_id=wish.pk, payment_ref="in_1", now=NOW)
        [use] = selectors.grants()
        assert (use.grant.category, use.grant.amount, use.grant.reason) == ("paid", 2000, "Top-up")
        assert use.grant.author["label"] == tenant.owner.email
    assert wishes(tenant)[0].payment_ref == "in_1"


def test_a_customer_whose_card_is_refused_gets_a_page_to_pay_at(tenant: Tenant) -> None:
    with scope(tenant.organization):
        wish = request(actor=tenant.actor, amount=2000, currency="usd", now=NOW)
    paid_with(tenant, Till(Payment("in_1", is_paid=False, page_url="https://pay.example/1", reason="Declined.")))
    [waiting] = wishes(tenant)
    assert (waiting.state, waiting.page_url, waiting.error) == ("open", "https://pay.example/1", "Declined.")
    assert balance(tenant) == 0
    with scope(tenant.organization):
        settle(top_up_id=wish.pk, payment_ref="in_1", now=NOW)
    assert (wishes(tenant)[0].state, balance(tenant)) == ("paid", 2000)


def test_a_payment_that_arrives_while_the_card_is_refused_stays_paid(tenant: Tenant) -> None:
    with scope(tenant.organization):
        wish = request(actor=tenant.actor, amount=2000, currency="usd", now=NOW)

    def charge(order: Order) -> Payment:
        with scope(tenant.organization):
            settle(top_up_id=wish.pk, payment_ref="in_1", now=NOW)
        raise DECLINED

    pay(organization_id=tenant.organization.pk, top_up_id=wish.pk, cashier=charge, now=NOW)
    assert (wishes(tenant)[0].state, balance(tenant)) == ("paid", 2000)


def test_the_top_up_of_another_organization_is_not_found(tenant: Tenant, stranger: Tenant) -> None:
    with scope(stranger.organization):
        theirs = request(actor=stranger.actor, amount=2000, currency="usd")
    with scope(tenant.organization), pytest.raises(NotFound):
        settle(top_up_id=theirs.pk, payment_ref="in_1")
    till = Till()
    pay(organization_id=tenant.organization.pk, top_up_id=theirs.pk, cashier=till, now=NOW + 99999 * DAY)
    assert till.orders == []


def test_one_that_breaks_does_not_keep_the_others(
    tenant: Tenant, stranger: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    for each in (tenant, stranger):
        with scope(each.organization):
            request(actor=each.actor, amount=2000, currency="usd", now=NOW)
    with pytest.raises(ExceptionGroup):
        pay_due(cashier=Till(ZeroDivisionError()), now=NOW)
    assert "credits.top_up_failed" in caplog.text
    assert {balance(tenant), balance(stranger)} == {0, 2000}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("amount", {"amount": 499}),
        ("amount", {"amount": 0}),
        ("threshold", {"threshold": -1}),
        ("monthly_maximum", {"monthly_maximum": 999}),
        ("currency", {"currency": "dollar"}),
    ],
)
def test_a_senseless_choice_is_refused(field: str, values: dict[str, Any], tenant: Tenant) -> None:
    good: dict[str, Any] = {"currency": "usd", "threshold": 0, "amount": 1000, "monthly_maximum": 1000}
    with scope(tenant.organization):
        with pytest.raises(Invalid) as refusal:
            configure(actor=tenant.actor, **(good | values))
        assert refusal.value.field == field
        assert selectors.auto_top_up("usd") is None


def test_a_purchase_that_costs_more_in_fees_than_it_brings_is_refused(tenant: Tenant) -> None:
    with scope(tenant.organization), pytest.raises(Invalid):
        request(actor=tenant.actor, amount=499, currency="usd")


def test_a_burn_that_fails_buys_nothing(automatic: Tenant) -> None:
    with scope(automatic.organization), pytest.raises(CreditsExhausted):
        burn(actor=SYSTEM, amount=5000, currency="usd", ref="too-much", now=NOW)
    assert wishes(automatic) == []
