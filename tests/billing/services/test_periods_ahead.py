"""Periods of an organization whose clock is ahead stay one sequence, and what is used now is in one that runs now."""

from itertools import pairwise

from django.utils import timezone

from billing.metering.models import UsagePeriod
from billing.models import BillingAccount, Subscription
from billing.quotas.selectors import billing_period
from billing.sandbox import clock
from billing.selectors.agreements import period_at
from billing.selectors.so_far import so_far
from billing.services import entitlements, time_machine
from billing.stripe_client import client
from billing.stripe_events import refresh
from tenancy.audit.services import SYSTEM
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.factories import Tenant, make_tenant


def test_after_days_that_passed_and_a_second_purchase_no_two_periods_overlap(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro")
    time_machine.advance(organization_id=tenant.organization.pk, actor=tenant.actor, days=40)
    with scope(tenant.organization):
        first = Subscription.objects.get()
    client().end_subscription(str(first.stripe_id), key="")
    refresh("subscription", str(first.stripe_id))
    buy(tenant, "scale")
    time_machine.advance(organization_id=tenant.organization.pk, actor=tenant.actor, days=40)
    with scope(tenant.organization):
        assert Subscription.objects.count() == 2
        periods = list(UsagePeriod.objects.order_by("starts_at"))
        assert len(periods) >= 3
        for before, after in pairwise(periods):
            assert before.ends_at == after.starts_at
        ahead = clock.ahead_of(str(BillingAccount.objects.get().stripe_customer_id))
        start, end = period_at(timezone.now() + ahead)
        assert periods[-1].ends_at <= start < timezone.now() + ahead < end


def test_what_is_used_now_is_shown_in_the_period_that_runs_now(transactional_db: None, buy: Buy) -> None:
    tenant = make_tenant()
    buy(tenant, "pro")
    time_machine.advance(organization_id=tenant.organization.pk, actor=tenant.actor, days=40)
    with scope(tenant.organization):
        entitlements.recompute(actor=SYSTEM)
        owner, row, shown = Organization.objects.get(), Subscription.objects.get(), so_far()
        assert row.period_start > timezone.now(), "the subscription's own lies ahead"
        assert (owner.period_start, owner.period_end) == period_at(timezone.now())
        assert (billing_period().starts_at, billing_period().ends_at) == (owner.period_start, owner.period_end)
        assert (shown.starts_at, shown.ends_at) == (owner.period_start, owner.period_end)
        assert shown.starts_at <= timezone.now() < shown.ends_at
