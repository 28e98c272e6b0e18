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
from tenancy.errors import Conflict, Invalid, LimitReached
from tenancy.models import User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import invitations, members
from tests.billing.services.conftest import Buy
from tests.factories import Tenant, add_member, make_user

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
    where: dict[str, Any] = {"organization_id": tenant.organization.pk}
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


def policy(tenant: Tenant, word: str) -> None:
    """Choose a policy, and let the job come that this calls."""
    accounts.set_seat_policy(organization_id=tenant.organization.pk, actor=tenant.actor, policy=word)
    sync(organization_id=tenant.organization.pk)


def join(tenant: Tenant, number: int) -> list[User]:
    """People who accept an invitation each."""
    people = []
    for _ in range(number):
        user = make_user()
        with scope(tenant.organization):
            made = invitations.create(actor=tenant.actor, actor_role=Role.OWNER, email=user.email, role=Role.MEMBER)
        invitations.accept(token=invitations.token_for(made), user=user)
        people.append(user)
    return people


def leave(tenant: Tenant, *people: User) -> None:
    """People who are removed."""
    with scope(tenant.organization):
        for user in people:
            members.remove(actor=tenant.actor, actor_role=Role.OWNER, user_id=user.pk)


def test_people_are_counted_as_the_policy_says(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    policy(tenant, "used")
    people = join(tenant, 11)
    sync(organization_id=tenant.organization.pk)
    assert subscription_of(tenant).seats == 10, "nobody has signed in"
    User.objects.filter(pk__in=[one.pk for one in (*people, tenant.owner)]).update(last_login=timezone.now())
    sync(organization_id=tenant.organization.pk)
    assert subscription_of(tenant).seats == 12
    leave(tenant, *people[:1])
    sync_all()
    row = subscription_of(tenant)
    assert (row.seats, row.paid_seats) == (11, 12), "it is free from the next period on"
    with pytest.raises(Invalid):
        policy(tenant, "guess")


def test_the_high_water_is_seen_between_two_looks(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    policy(tenant, "high_water")
    people = join(tenant, 12)
    leave(tenant, *people[:4])
    join(tenant, 1)
    sync(organization_id=tenant.organization.pk)
    assert subscription_of(tenant).seats == 13, "the owner and twelve at once"
    with scope(tenant.organization):
        assert BillingAccount.objects.get().seat_high_water == 13
    [line] = waiting_lines(tenant)
    assert line["amount"] == subscription_of(tenant).seat_line_amount


def test_a_policy_says_how_many_may_come(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    join(tenant, 9)
    with pytest.raises(LimitReached):
        join(tenant, 1)
    policy(tenant, "used")
    join(tenant, 3)
    policy(tenant, "named")
    assert subscription_of(tenant).seats == 13, "every member is paid for"
    with pytest.raises(LimitReached):
        join(tenant, 1)
    seats(tenant, 14)
    join(tenant, 1)


def test_an_invitation_waits_for_a_seat_that_is_gone_meanwhile(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, seats=11)
    join(tenant, 9)
    user = make_user()
    with scope(tenant.organization):
        made = invitations.create(actor=tenant.actor, actor_role=Role.OWNER, email=user.email, role=Role.MEMBER)
    seats(tenant, 10)
    with pytest.raises(LimitReached, match="All 10 seats are taken"):
        invitations.accept(token=invitations.token_for(made), user=user)
    seats(tenant, 11)
    invitations.accept(token=invitations.token_for(made), user=user)
