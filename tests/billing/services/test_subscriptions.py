"""A customer buys, cancels, resumes and downgrades; nobody has two subscriptions, and nothing too small is bought."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.models import BillingAccount, Subscription
from billing.sandbox import checkout as pages
from billing.sandbox import clock, keys
from billing.sandbox.store import Books
from billing.selectors.subscriptions import live
from billing.services import subscriptions
from billing.services.accounts import ensure_customer
from billing.services.changes import preview_change
from billing.services.seats import set_seats
from billing.services.subscriptions import Blocked, Trial
from billing.stripe_client import client
from billing.stripe_events import refresh
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Conflict, Invalid
from tenancy.models import Organization
from tenancy.roles import Role
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.billing.shop import publish
from tests.factories import Tenant, add_member, make_tenant
from tests.threads import at_once

RETURN = "http://testserver/o/x/billing/"


def subscription_of(tenant: Tenant) -> Subscription:
    with scope(tenant.organization):
        found = live()
    assert found is not None
    return found


def recorded(tenant: Tenant, action: actions.Action) -> bool:
    with scope(tenant.organization):
        return AuditEvent.objects.filter(action=action.name).exists()


def test_a_plan_is_bought_on_the_page_and_holds_at_once(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro", seats=12)
    row = subscription_of(tenant)
    assert (row.plan_key, row.interval, row.status, row.seats, row.paid_seats) == ("pro", "monthly", "active", 12, 12)
    with scope(tenant.organization):
        organization = Organization.objects.get()
        assert BillingAccount.objects.get().has_payment_method
    assert (organization.project_limit, organization.member_limit) == (25, 12)
    assert recorded(tenant, actions.BILLING_CHECKOUT_OPENED)


def test_who_has_a_subscription_changes_it_and_buys_no_second(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    with pytest.raises(Conflict):
        buy(tenant, "scale")


def test_what_was_paid_and_not_heard_of_yet_is_not_sold_again(tenant: Tenant, shop: None) -> None:
    def open_page(plan_key: str) -> str:
        return subscriptions.checkout(
            organization_id=tenant.organization.pk,
            actor=tenant.actor,
            plan_key=plan_key,
            interval="monthly",
            seats=0,
            return_url=RETURN,
        )

    pages.complete(Books(keys.ACCOUNT), open_page("pro").rsplit("/", 1)[1], "visa", {})
    with pytest.raises(Conflict, match="already"):
        open_page("pro")
    assert subscription_of(tenant).status == "active"
    bought = str(subscription_of(tenant).stripe_id)
    client().end_subscription(bought, key="")
    refresh("subscription", bought)
    assert open_page("scale")  # what has ended since is no hindrance


def test_a_new_checkout_closes_the_one_before(tenant: Tenant, shop: None) -> None:
    opened = []
    for plan_key in ("pro", "scale"):
        subscriptions.checkout(
            organization_id=tenant.organization.pk,
            actor=tenant.actor,
            plan_key=plan_key,
            interval="monthly",
            seats=0,
            return_url=RETURN,
        )
        with scope(tenant.organization):
            opened.append(BillingAccount.objects.get().checkout_id)
    states = [client().retrieve("checkout.session", session)["status"] for session in opened]
    assert states == ["expired", "open"]


def test_of_two_checkouts_at_once_one_can_be_paid(transactional_db: None) -> None:
    tenant = make_tenant()
    publish()
    ensure_customer(organization_id=tenant.organization.pk)

    def open_page() -> str:
        return subscriptions.checkout(
            organization_id=tenant.organization.pk,
            actor=tenant.actor,
            plan_key="pro",
            interval="monthly",
            seats=0,
            return_url=RETURN,
        )

    at_once(*[open_page] * 3)
    with scope(tenant.organization):
        account = BillingAccount.objects.get()
    pages_of = list(client()._pages("checkout/sessions", {"customer": account.stripe_customer_id}))
    assert [one["id"] for one in pages_of if one["status"] == "open"] == [account.checkout_id]


@pytest.mark.parametrize(("plan_key", "interval"), [("free", "monthly"), ("gold", "monthly"), ("pro", "weekly")])
def test_what_is_not_sold_cannot_be_bought(tenant: Tenant, shop: None, plan_key: str, interval: str) -> None:
    with pytest.raises(Invalid):
        subscriptions.checkout(
            organization_id=tenant.organization.pk,
            actor=tenant.actor,
            plan_key=plan_key,
            interval=interval,
            seats=0,
            return_url=RETURN,
        )


def test_a_cancellation_waits_for_the_period_s_end_and_can_be_taken_back(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    subscriptions.cancel(organization_id=tenant.organization.pk, actor=tenant.actor)
    row = subscription_of(tenant)
    assert (row.status, row.cancel_at) == ("active", row.period_end)
    subscriptions.resume(organization_id=tenant.organization.pk, actor=tenant.actor)
    assert subscription_of(tenant).cancel_at is None
    assert recorded(tenant, actions.BILLING_CANCEL_ORDERED)
    assert recorded(tenant, actions.BILLING_RESUMED)
    with pytest.raises(Conflict):
        subscriptions.resume(organization_id=tenant.organization.pk, actor=tenant.actor)


def test_a_downgrade_waits_for_the_period_s_end_and_can_be_taken_back(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "scale")
    where: dict[str, Any] = {"organization_id": tenant.organization.pk, "actor": tenant.actor}
    subscriptions.schedule_downgrade(**where, plan_key="pro", interval="monthly")
    row = subscription_of(tenant)
    assert (row.plan_key, row.scheduled_plan_key, row.scheduled_at) == ("scale", "pro", row.period_end)
    refresh("subscription", str(row.stripe_id))
    assert subscription_of(tenant).scheduled_plan_key == "pro"
    with pytest.raises(Conflict, match="scheduled"):
        preview_change(organization_id=tenant.organization.pk, plan_key="enterprise", interval="monthly", seats=0)
    with pytest.raises(Conflict, match="scheduled"):
        set_seats(**where, seats=30)
    subscriptions.cancel_schedule(**where)
    row = subscription_of(tenant)
    assert (row.plan_key, row.scheduled_plan_key, row.schedule_id) == ("scale", "", "")
    assert recorded(tenant, actions.BILLING_DOWNGRADE_SCHEDULED)
    assert recorded(tenant, actions.BILLING_DOWNGRADE_UNSCHEDULED)
    with pytest.raises(Conflict):
        subscriptions.cancel_schedule(**where)


def test_a_downgrade_is_blocked_with_reasons_while_more_is_in_use(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "scale")
    for _ in range(10):
        add_member(tenant, Role.MEMBER)
    with pytest.raises(Blocked) as caught:
        subscriptions.schedule_downgrade(
            organization_id=tenant.organization.pk, actor=tenant.actor, plan_key="pro", interval="monthly"
        )
    assert caught.value.reasons == ["There are 11 members and Pro has 10: remove 1 first."]
    assert subscription_of(tenant).scheduled_plan_key == ""


def test_a_downgrade_is_blocked_while_more_is_stored(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    yesterday = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
    with scope(tenant.organization):
        UsageHour.objects.create(
            project_id=tenant.project.pk,
            key_id=None,
            meter=Meter.STORED_BYTES,
            hour=yesterday,
            quantity=3 * 10**9,
            events=1,
        )
    with pytest.raises(Blocked, match="2,000,000,000 first"):
        subscriptions.schedule_downgrade(
            organization_id=tenant.organization.pk, actor=tenant.actor, plan_key="free", interval="monthly"
        )
    assert subscription_of(tenant).cancel_at is None


def test_going_back_to_the_free_plan_is_a_cancellation(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    subscriptions.schedule_downgrade(
        organization_id=tenant.organization.pk, actor=tenant.actor, plan_key="free", interval="monthly"
    )
    assert subscription_of(tenant).cancel_at is not None


def test_a_trial_without_a_card_is_had_once(tenant: Tenant, shop: None) -> None:
    where: dict[str, Any] = {"organization_id": tenant.organization.pk, "actor": tenant.actor}
    subscriptions.start_trial(**where, plan_key="pro")
    row = subscription_of(tenant)
    assert (row.status, row.trial_end) == ("trialing", row.period_end)
    assert recorded(tenant, actions.BILLING_TRIAL_STARTED)
    with pytest.raises(Conflict):
        subscriptions.start_trial(**where, plan_key="pro")
    with scope(tenant.organization):
        Subscription.objects.update(status="canceled")
    with pytest.raises(Conflict, match="used already"):
        subscriptions.start_trial(**where, plan_key="scale")


def test_a_trial_has_an_end_that_somebody_chose(tenant: Tenant, shop: None) -> None:
    with pytest.raises(Invalid):
        subscriptions.checkout(
            organization_id=tenant.organization.pk,
            actor=tenant.actor,
            plan_key="pro",
            interval="monthly",
            seats=0,
            return_url=RETURN,
            trial=Trial(at_end="explode"),
        )


def test_a_promotion_code_makes_the_next_invoice_smaller(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    stripe = client()
    coupon = stripe._post("coupons", {"percent_off": 50, "duration": "once"}, "")
    code = f"HALF{tenant.organization.pk.hex[:8].upper()}"
    stripe._post("promotion_codes", {"promotion": {"type": "coupon", "coupon": coupon["id"]}, "code": code}, "")
    row = subscription_of(tenant)
    with scope(tenant.organization):
        customer = str(BillingAccount.objects.get().stripe_customer_id)
    subscriptions.redeem(organization_id=tenant.organization.pk, actor=tenant.actor, code=code)
    assert stripe.upcoming(customer, str(row.stripe_id))["total"] == 14_50
    assert recorded(tenant, actions.BILLING_COUPON_REDEEMED)
    with pytest.raises(Invalid):
        subscriptions.redeem(organization_id=tenant.organization.pk, actor=tenant.actor, code="NOSUCH")


def test_the_portal_is_for_customers(tenant: Tenant, buy: Buy) -> None:
    where: dict[str, Any] = {"organization_id": tenant.organization.pk, "actor": tenant.actor, "return_url": RETURN}
    with pytest.raises(Conflict):
        subscriptions.portal(**where)
    buy(tenant)
    assert "/portal/" in subscriptions.portal(**where)


def pass_days(tenant: Tenant, days: int) -> None:
    with scope(tenant.organization):
        customer = str(BillingAccount.objects.get().stripe_customer_id)
    clock.advance(customer, timedelta(days=days))
    with scope(tenant.organization):
        stripe_id = Subscription.objects.latest("created_at").stripe_id
    refresh("subscription", str(stripe_id))


def test_a_scheduled_downgrade_comes_when_the_period_ends(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "scale")
    subscriptions.schedule_downgrade(
        organization_id=tenant.organization.pk, actor=tenant.actor, plan_key="pro", interval="monthly"
    )
    pass_days(tenant, 32)
    row = subscription_of(tenant)
    assert (row.plan_key, row.status) == ("pro", "active")
    with scope(tenant.organization):
        assert Organization.objects.get().project_limit == 25


def test_a_cancelled_subscription_ends_with_its_period_and_leaves_the_free_plan(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    subscriptions.cancel(organization_id=tenant.organization.pk, actor=tenant.actor)
    pass_days(tenant, 32)
    with scope(tenant.organization):
        assert live() is None
        assert Organization.objects.get().project_limit == 5
    buy(tenant, "scale")
    assert subscription_of(tenant).plan_key == "scale"


def test_a_year_is_bought_at_once(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro", interval="yearly", seats=12)
    row = subscription_of(tenant)
    assert (row.interval, row.seats, row.status) == ("yearly", 12, "active")
    assert row.period_end - row.period_start >= timedelta(days=365)


@pytest.mark.parametrize("needs_card", [True, False])
def test_a_trial_can_begin_at_the_checkout(tenant: Tenant, shop: None, *, needs_card: bool) -> None:
    url = subscriptions.checkout(
        organization_id=tenant.organization.pk,
        actor=tenant.actor,
        plan_key="pro",
        interval="monthly",
        seats=0,
        return_url=RETURN,
        trial=Trial(needs_card=needs_card),
    )
    card = "visa" if needs_card else None
    session = pages.complete(Books(keys.ACCOUNT), url.rsplit("/", 1)[1], card, {})
    refresh("subscription", session["subscription"])
    assert subscription_of(tenant).status == "trialing"
    pass_days(tenant, 16)
    with scope(tenant.organization):
        assert Subscription.objects.get().status == ("active" if needs_card else "canceled")
