"""More people cost from the day they come, on one line a period; fewer cost less from the next period on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.models import BillingAccount, Subscription
from billing.money import prorate, round_line
from billing.plans import current
from billing.sandbox import clock
from billing.selectors.subscriptions import live
from billing.services import accounts
from billing.services.changes import apply_change, preview_change
from billing.services.seats import preview_seats, set_seats, sync, sync_all
from billing.services.subscriptions import start_trial
from billing.stripe_client import client
from billing.stripe_events import refresh
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Conflict, Invalid
from tenancy.models import User
from tenancy.roles import Role
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.factories import Tenant, add_member

PRO = current("pro")


def subscription_of(tenant: Tenant) -> Subscription:
    with scope(tenant.organization):
        found = live()
    assert found is not None
    return found


def customer_of(tenant: Tenant) -> str:
    with scope(tenant.organization):
        return str(BillingAccount.objects.get().stripe_customer_id)


def seats(tenant: Tenant, number: int) -> None:
    set_seats(organization_id=tenant.organization.pk, actor=tenant.actor, seats=number)


def pass_days(tenant: Tenant, days: int) -> None:
    clock.advance(customer_of(tenant), timedelta(days=days))
    refresh("subscription", str(subscription_of(tenant).stripe_id))


def waiting_lines(tenant: Tenant) -> list[dict[str, Any]]:
    """What waits for the next invoice."""
    return list(client()._pages("invoiceitems", {"customer": customer_of(tenant), "pending": True}))


def share(tenant: Tenant, added: int, at: int) -> int:
    row = subscription_of(tenant)
    left = row.period_end - datetime.fromtimestamp(at, UTC)
    return round_line(prorate(PRO.seat * added, left, row.period_end - row.period_start))[0]


def test_seats_added_in_a_period_share_one_line(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    pass_days(tenant, 10)
    at = client().time_of(customer_of(tenant))
    seats(tenant, 12)
    first = share(tenant, 2, at)
    pass_days(tenant, 5)
    at = client().time_of(customer_of(tenant))
    seats(tenant, 15)
    [line] = waiting_lines(tenant)
    assert abs(line["amount"] - (first + share(tenant, 3, at))) <= 1  # a second may pass in between
    assert line["amount"] == subscription_of(tenant).seat_line_amount
    assert subscription_of(tenant).seats == 15
    with scope(tenant.organization):
        assert AuditEvent.objects.filter(action=actions.BILLING_SEATS_CHANGED.name).count() == 2


def test_the_line_is_on_the_next_invoice_beside_the_seats_of_the_next_period(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    pass_days(tenant, 10)
    seats(tenant, 12)
    amount = subscription_of(tenant).seat_line_amount
    pass_days(tenant, 22)
    row = subscription_of(tenant)
    newest = next(client()._pages("invoices", {"customer": customer_of(tenant)}))
    amounts = [line["amount"] for line in newest["lines"]["data"] if line["amount"]]
    assert sorted(amounts) == sorted([PRO.monthly, 2 * PRO.seat, amount])
    assert (row.paid_seats, row.seat_line_id, row.seat_line_amount) == (12, "", 0)
    assert waiting_lines(tenant) == []


def test_fewer_seats_cost_less_from_the_next_period_and_come_back_for_nothing(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, seats=14)
    seats(tenant, 11)
    assert (subscription_of(tenant).seats, waiting_lines(tenant)) == (11, [])
    seats(tenant, 14)
    assert (subscription_of(tenant).seats, waiting_lines(tenant)) == (14, [])
    seats(tenant, 11)
    pass_days(tenant, 32)
    newest = next(client()._pages("invoices", {"customer": customer_of(tenant)}))
    assert newest["total"] == PRO.monthly + PRO.seat


def test_nobody_pays_for_fewer_than_there_are_or_than_are_included(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, seats=14)
    seats(tenant, 1)
    assert subscription_of(tenant).seats == 10
    seats(tenant, 12)
    for _ in range(11):
        add_member(tenant, Role.MEMBER)
    with pytest.raises(Invalid):
        seats(tenant, 11)
    assert subscription_of(tenant).seats == 12


def test_a_line_that_was_begun_by_somebody_who_died_is_charged_once(
    tenant: Tenant, buy: Buy, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(tenant)
    real = type(client()).change_subscription

    def dies(*args: Any, **values: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(type(client()), "change_subscription", dies)
    with pytest.raises(RuntimeError):
        seats(tenant, 12)
    monkeypatch.setattr(type(client()), "change_subscription", real)
    seats(tenant, 12)
    [line] = waiting_lines(tenant)
    assert line["amount"] <= 2 * PRO.seat


def test_what_one_more_seat_costs_is_known_beforehand(tenant: Tenant, buy: Buy) -> None:
    where = {"organization_id": tenant.organization.pk}
    with pytest.raises(Conflict):
        preview_seats(**where)
    buy(tenant)
    pass_days(tenant, 10)
    seats(tenant, 12)
    pass_days(tenant, 5)
    seen = preview_seats(**where)
    row = subscription_of(tenant)
    assert (seen.seats, seen.added, seen.monthly, seen.policy) == (13, 1, 3 * PRO.seat, "named")
    assert (seen.line, seen.until) == (row.seat_line_amount + seen.charge, row.period_end)
    assert 0 < seen.charge < PRO.seat
    seats(tenant, 13)
    assert abs(subscription_of(tenant).seat_line_amount - seen.line) <= 1  # a second may pass in between
    assert (preview_seats(**where, seats=13).charge, preview_seats(**where, seats=1).monthly) == (0, 0)


def test_a_trial_adds_people_for_nothing(tenant: Tenant, shop: None) -> None:
    start_trial(organization_id=tenant.organization.pk, actor=tenant.actor, plan_key="pro")
    seats(tenant, 13)
    assert (subscription_of(tenant).seats, waiting_lines(tenant)) == (13, [])


def test_a_change_of_plan_pays_for_the_seats_it_brings(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    seats(tenant, 12)
    seen = preview_change(organization_id=tenant.organization.pk, plan_key="scale", interval="monthly", seats=30)
    apply_change(organization_id=tenant.organization.pk, actor=tenant.actor, token=seen.token)
    newest = next(client()._pages("invoices", {"customer": customer_of(tenant)}))
    assert newest["amount_due"] == seen.due_now
    assert waiting_lines(tenant) == []  # what waited for the next invoice came with this one
    row = subscription_of(tenant)
    assert (row.paid_seats, row.seat_line_id, row.seat_line_amount) == (30, "", 0)
    seats(tenant, 31)
    assert subscription_of(tenant).seat_line_amount > 0


def test_people_are_counted_as_the_policy_says(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    where = {"organization_id": tenant.organization.pk}
    for _ in range(11):
        add_member(tenant, Role.MEMBER)
    sync(**where)
    assert subscription_of(tenant).seats == 10  # named: what was bought
    accounts.set_seat_policy(**where, actor=tenant.actor, policy="used")
    User.objects.filter(pk=tenant.owner.pk).update(last_login=timezone.now())
    sync(**where)
    assert subscription_of(tenant).seats == 10
    accounts.set_seat_policy(**where, actor=tenant.actor, policy="high_water")
    sync_all()
    assert subscription_of(tenant).seats == 12
    with scope(tenant.organization):
        assert BillingAccount.objects.get().seat_high_water == 12
    with pytest.raises(Invalid):
        accounts.set_seat_policy(**where, actor=tenant.actor, policy="guess")
