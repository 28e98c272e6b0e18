"""A change of plan costs what its preview said, to the cent, once, however many tabs confirm it."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import signing
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from billing.models import BillingAccount, Subscription
from billing.plans import Allowance, Interval, current
from billing.sandbox import clock
from billing.selectors.subscriptions import live
from billing.services import changes, subscriptions
from billing.services.changes import Preview, apply_change, preview_change
from billing.stripe_client import StripeClient, StripeRefused, StripeUnavailable, client
from billing.stripe_events import refresh
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Conflict, Invalid
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.billing.shop import DECLINED_CARD, give_card, publish
from tests.factories import Tenant, make_tenant
from tests.threads import at_once


def subscription_of(tenant: Tenant) -> Subscription:
    with scope(tenant.organization):
        found = live()
    assert found is not None
    return found


def preview(tenant: Tenant, plan_key: str = "scale", *, interval: str = "monthly", seats: int = 0) -> Preview:
    return preview_change(organization_id=tenant.organization.pk, plan_key=plan_key, interval=interval, seats=seats)


def confirm(tenant: Tenant, seen: Preview) -> None:
    apply_change(organization_id=tenant.organization.pk, actor=tenant.actor, token=seen.token)


def invoices(tenant: Tenant) -> list[dict[str, Any]]:
    """Every invoice of the tenant's at Stripe, newest first."""
    with scope(tenant.organization):
        customer = BillingAccount.objects.get().stripe_customer_id
    return list(client()._pages("invoices", {"customer": customer}))


def test_an_upgrade_is_charged_as_previewed_and_holds_at_once(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro")
    seen = preview(tenant, "scale", seats=30)
    confirm(tenant, seen)
    row = subscription_of(tenant)
    assert (row.plan_key, row.seats, row.paid_seats) == ("scale", 30, 30)
    newest = invoices(tenant)[0]
    assert (newest["total"], newest["amount_due"]) == (seen.due_now, seen.due_now)
    assert newest["status"] == "paid"
    assert [line["amount"] for line in newest["lines"]["data"]] == [line.amount for line in seen.lines]
    scale = current("scale")
    assert seen.next_invoice == scale.monthly + 5 * scale.seat
    with scope(tenant.organization):
        assert AuditEvent.objects.filter(action=actions.BILLING_CHANGE_ORDERED.name).count() == 1


def test_the_same_confirmation_twice_charges_once(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro")
    seen = preview(tenant)
    confirm(tenant, seen)
    confirm(tenant, seen)
    assert len(invoices(tenant)) == 2
    assert subscription_of(tenant).plan_key == "scale"


def test_a_confirmation_whose_answer_was_lost_can_be_repeated(
    tenant: Tenant, buy: Buy, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(tenant, "pro", seats=12)
    seen = preview(tenant, "scale")
    real = StripeClient.change_subscription

    def lost(self: StripeClient, *args: Any, **values: Any) -> Any:
        real(self, *args, **values)
        raise StripeUnavailable("The answer was lost.", 1)

    monkeypatch.setattr(StripeClient, "change_subscription", lost)
    with pytest.raises(StripeUnavailable):
        confirm(tenant, seen)
    monkeypatch.setattr(StripeClient, "change_subscription", real)
    confirm(tenant, seen)
    assert (subscription_of(tenant).plan_key, len(invoices(tenant))) == ("scale", 2)


def test_of_two_tabs_one_wins_and_the_other_is_told(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro")
    first, second = preview(tenant, "scale"), preview(tenant, "enterprise")
    confirm(tenant, first)
    with pytest.raises(Conflict, match="meanwhile"):
        confirm(tenant, second)
    assert subscription_of(tenant).plan_key == "scale"
    assert len(invoices(tenant)) == 2


@pytest.mark.django_db(transaction=True)
def test_of_two_tabs_at_the_same_moment_one_wins() -> None:
    tenant = make_tenant()
    publish()
    give_card(tenant)
    subscriptions.start_trial(organization_id=tenant.organization.pk, actor=tenant.actor, plan_key="pro")
    seen = [preview(tenant, "scale"), preview(tenant, "enterprise")]
    results = at_once(*[lambda one=one: confirm(tenant, one) for one in seen])
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "NoneType"]


def test_a_card_that_is_refused_changes_nothing(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro")
    bad = client()._post(f"payment_methods/{DECLINED_CARD}/attach", {"customer": customer_of(tenant)}, "")
    stripe_id = str(subscription_of(tenant).stripe_id)
    client().update_subscription(stripe_id, {"default_payment_method": bad["id"]}, key="")
    seen = preview(tenant)
    with pytest.raises(StripeRefused) as caught:
        confirm(tenant, seen)
    assert caught.value.code == "card_declined"
    refresh("subscription", stripe_id)
    assert subscription_of(tenant).plan_key == "pro"


def customer_of(tenant: Tenant) -> str:
    with scope(tenant.organization):
        return str(BillingAccount.objects.get().stripe_customer_id)


def test_a_preview_is_of_one_organization_and_for_a_quarter_of_an_hour(
    tenant: Tenant, stranger: Tenant, buy: Buy, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(tenant)
    seen = preview(tenant)
    with pytest.raises(Invalid):
        confirm(stranger, seen)
    with pytest.raises(Invalid):
        apply_change(organization_id=tenant.organization.pk, actor=tenant.actor, token=seen.token + "x")
    with pytest.raises(Invalid):
        apply_change(organization_id=tenant.organization.pk, actor=tenant.actor, token=signing.dumps(["x"]))
    monkeypatch.setattr(changes, "GOOD_FOR", -1)
    with pytest.raises(Invalid, match="15 minutes"):
        confirm(tenant, seen)
    assert subscription_of(tenant).plan_key == "pro"


def test_a_preview_of_a_time_that_has_passed_is_not_charged(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    seen = preview(tenant)
    clock.advance(customer_of(tenant), timedelta(days=35))
    with pytest.raises((Conflict, StripeRefused)):
        confirm(tenant, seen)
    refresh("subscription", str(subscription_of(tenant).stripe_id))
    assert subscription_of(tenant).plan_key == "pro"


def test_without_a_subscription_there_is_nothing_to_change(tenant: Tenant, shop: None) -> None:
    with pytest.raises(Conflict):
        preview(tenant)


PLANS, INTERVALS = st.sampled_from(["pro", "scale", "enterprise"]), st.sampled_from(list(Interval))
STEP = st.tuples(PLANS, INTERVALS, st.integers(0, 130), st.integers(0, 20 * 86_400))


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(start=PLANS, steps=st.lists(STEP, min_size=2, max_size=5))
# the periods of seats and of usage end half an hour apart: the reminder for the later one is due when the first ends
@example(
    start="pro",
    steps=[
        ("pro", Interval.YEARLY, 0, 1),
        ("pro", Interval.MONTHLY, 0, 1_800),
        ("scale", Interval.MONTHLY, 0, 31 * 86_400),
    ],
)
def test_every_change_is_charged_to_the_cent_as_previewed(
    buy: Buy, start: str, steps: list[tuple[str, Interval, int, int]]
) -> None:
    tenant = make_tenant()
    buy(tenant, start)
    for plan_key, interval, seats, seconds in steps:
        clock.advance(customer_of(tenant), timedelta(seconds=seconds))
        refresh("subscription", str(subscription_of(tenant).stripe_id))
        row = subscription_of(tenant)
        wanted = (plan_key, interval, max(seats, current(plan_key).allowances[Allowance.SEATS].quantity))
        if (row.plan_key, row.interval, row.seats) == wanted:
            with pytest.raises(Invalid):
                preview(tenant, plan_key, interval=interval, seats=seats)
            continue
        known = {one["id"] for one in invoices(tenant)}
        seen = preview(tenant, plan_key, interval=interval, seats=seats)
        confirm(tenant, seen)
        new = [one for one in invoices(tenant) if one["id"] not in known]
        assert [one["amount_due"] for one in new] == [seen.due_now]
        assert [line["amount"] for one in new for line in one["lines"]["data"]] == [one.amount for one in seen.lines]
        assert max(0, -new[0]["total"]) == seen.credit
        row = subscription_of(tenant)
        assert (row.plan_key, row.interval, row.seats) == wanted
