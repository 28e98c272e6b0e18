"""What an organization's money goes by is its own clock: every sweep, beside others whose clock is the real one."""

from datetime import datetime, timedelta

import pytest
from django.core import mail
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from billing.credits.selectors import balance
from billing.credits.services import expire_due, grant
from billing.invoicing.models import Invoice
from billing.invoicing.services import Offer, begin_due, close_due, sign_contract
from billing.models import Dunning, Source, Status, Subscription
from billing.plans import current
from billing.selectors.entitlements import effective, live_overrides
from billing.services.dunning import advance_due, payment_due
from billing.services.entitlements import grant_override, recompute_due
from billing.services.trials import remind_due
from tenancy.audit.services import SYSTEM
from tenancy.clock import furthest, here
from tenancy.models import Organization
from tenancy.scope import scope
from tests.factories import Tenant

AHEAD = timedelta(days=40)
DAY = timedelta(days=1)
Capture = DjangoCaptureOnCommitCallbacks


@pytest.fixture
def both(tenant: Tenant, stranger: Tenant) -> list[Tenant]:
    """One whose clock is 40 days ahead, and one whose clock is the real one."""
    with scope(tenant.organization):
        Organization.objects.update(clock_ahead=AHEAD)
    return [tenant, stranger]


def subscribe(tenant: Tenant, **columns: object) -> None:
    """A subscription that began a moment ago."""
    now = timezone.now()
    made = {"status": Status.ACTIVE, "period_start": now - DAY, "period_end": now + 30 * DAY, "created_at": now - DAY}
    with scope(tenant.organization):
        Subscription.objects.create(plan_key="pro", plan_version=1, **made | columns)


def test_each_has_its_own_time_and_a_sweep_knows_the_furthest(both: list[Tenant]) -> None:
    moments: list[datetime] = []
    for one in both:
        with scope(one.organization):
            moments.append(here())
    assert abs(moments[0] - moments[1] - AHEAD) < timedelta(seconds=5)
    assert furthest(moments[1]) == moments[1] + AHEAD


def test_where_no_clock_is_ahead_the_furthest_is_the_real_one(tenant: Tenant) -> None:
    with scope(tenant.organization):
        Organization.objects.update(clock_ahead=timedelta(0))
    now = timezone.now()
    assert furthest(now) == now


def test_the_end_of_a_trial_is_told_by_its_clock(
    both: list[Tenant], django_capture_on_commit_callbacks: Capture
) -> None:
    for one in both:
        end = timezone.now() + AHEAD + 2 * DAY
        subscribe(one, status=Status.TRIALING, trial_end=end, period_end=end)
    with django_capture_on_commit_callbacks(execute=True):
        remind_due()
    assert [(letter.to, letter.subject) for letter in mail.outbox] == [
        ([both[0].owner.email], "Your trial ends in 2 days")
    ]


def test_a_period_is_invoiced_by_its_clock(both: list[Tenant]) -> None:
    for one in both:
        subscribe(one, source=Source.MANUAL)
    close_due(now=timezone.now())
    close_due(now=timezone.now())
    found = []
    for one in both:
        with scope(one.organization):
            found.append([(one.state, one.issued_at) for one in Invoice.objects.all()])
    [(state, issued_at)] = found[0]
    assert state == "open"
    assert issued_at is not None
    assert abs(issued_at - timezone.now() - AHEAD) < timedelta(minutes=1)
    assert found[1] == []


def test_what_is_to_be_transferred_is_overdue_by_its_clock(both: list[Tenant]) -> None:
    for one in both:
        with scope(one.organization):
            payment_due(
                actor=SYSTEM, invoice_ref="I-1", amount=100, currency="usd", due_at=timezone.now() + AHEAD + DAY / 2
            )
            Organization.objects.filter(clock_ahead=AHEAD).update(clock_ahead=AHEAD + DAY)
    advance_due(now=timezone.now())
    states = []
    for one in both:
        with scope(one.organization):
            states.append(Dunning.objects.get().state)
    assert states == ["past_due", "ok"]


def test_credits_expire_by_its_clock_in_the_balance_and_in_the_sweep(both: list[Tenant]) -> None:
    for one in both:
        with scope(one.organization):
            Organization.objects.update(clock_ahead=timedelta(0))
            grant(
                actor=SYSTEM,
                amount=500,
                currency="usd",
                category="promotional",
                reason="A test",
                ref="r",
                expires_at=timezone.now() + 30 * DAY,
            )
    with scope(both[0].organization):
        Organization.objects.update(clock_ahead=AHEAD)
        assert balance("usd") == 0
    assert expire_due(now=timezone.now()) == 1
    with scope(both[1].organization):
        assert balance("usd") == 500


def test_an_override_ends_by_its_clock(both: list[Tenant]) -> None:
    for one in both:
        with scope(one.organization):
            expires_at = here() + DAY
            grant_override(actor=SYSTEM, key="project_limit", value=6, reason="A test", expires_at=expires_at)
            Organization.objects.filter(clock_ahead=AHEAD).update(clock_ahead=AHEAD + 2 * DAY)
    assert recompute_due() == 1, "the other's override has a day left"
    limits = []
    for one in both:
        with scope(one.organization):
            limits.append((len(live_overrides(here())), Organization.objects.get().project_limit))
    assert limits == [(0, current("free").limits["project_limit"]), (1, 6)]


def test_a_period_of_use_ends_by_the_real_clock_however_far_anybody_s_is_ahead(both: list[Tenant]) -> None:
    for one in both:
        with scope(one.organization):
            now = timezone.now()
            Organization.objects.update(period_start=now - DAY, period_end=now + AHEAD - DAY)
    assert recompute_due() == 0
    for one in both:
        with scope(one.organization):
            Organization.objects.update(period_end=timezone.now())
    assert (recompute_due(), recompute_due()) == (2, 0)


def test_a_contract_begins_by_its_clock(both: list[Tenant]) -> None:
    begins = timezone.now() + AHEAD - DAY
    offer = Offer(reference="C-1", plan_key="enterprise", starts_at=begins, steps=[(12, 1000)], fee=100)
    for one in both:
        with scope(one.organization):
            contract = sign_contract(actor=SYSTEM, offer=offer)
            is_ahead = Organization.objects.get().clock_ahead == AHEAD
            assert (contract.subscription is not None) == is_ahead
            assert effective().source == ("contract" if is_ahead else "free")
    with scope(both[1].organization):
        Organization.objects.update(clock_ahead=AHEAD)
    assert begin_due(now=timezone.now()) == 1
