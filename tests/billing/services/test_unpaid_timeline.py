"""A renewal that nobody pays, day by day until two months later, and what paying it brings back on the way."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from billing.models import ENDED, Debt, Dunning, Subscription
from billing.plans import FREE, current
from billing.sandbox import accounts, keys
from billing.sandbox.store import Books
from billing.selectors.entitlements import effective
from billing.services import time_machine
from billing.services.accounts import customer_of
from billing.stripe_client import client
from billing.stripe_events import ended_by_stripe, refresh
from tenancy.clock import here
from tenancy.models import Organization, Project
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.billing.shop import DECLINED_CARD, GOOD_CARD, give_card
from tests.factories import Tenant

LAST = 61
PAID_ON = (1, 14, 16, 45, 59, 61)


def pass_day(tenant: Tenant) -> None:
    """Let a day pass."""
    time_machine.advance(organization_id=tenant.organization.pk, actor=tenant.actor, days=1)


def failed_days_ago(tenant: Tenant) -> int | None:
    """How many whole days ago the first payment failed."""
    with scope(tenant.organization):
        first = Debt.objects.filter(settled_at=None).order_by("failed_at").first()
        return None if first is None or first.failed_at is None else (here() - first.failed_at).days


def standing(tenant: Tenant) -> tuple[str, str, str]:
    """The tenant's dunning, access and plan."""
    with scope(tenant.organization):
        row = Dunning.objects.first()
        return (row.state if row else "ok", Organization.objects.get().access, effective().plan.key)


def expected(day: int) -> tuple[str, str, str]:
    """What our table of states says of the day."""
    if day < 14:
        return ("past_due", "full", "pro")
    if day < 28:
        return ("restricted", "read_only", "pro")
    return ("suspended", "suspended", "pro") if day < 60 else ("cancelled", "suspended", FREE)


def pay(tenant: Tenant) -> None:
    """Pay whatever is open with a good card, and let that be heard."""
    customer = give_card(tenant, GOOD_CARD)
    paid = [client().pay(one["id"], key="")["id"] for one in client().invoices(customer, "open")]
    with scope(tenant.organization):
        subscription = str(Subscription.objects.get().stripe_id)
    for kind, object_id in [*(("invoice", one) for one in paid), ("subscription", subscription)]:
        refresh(kind, object_id)


def pay_oldest(tenant: Tenant) -> None:
    """Pay the first of two debts: what is left of them failed days ago."""
    customer = give_card(tenant, GOOD_CARD)
    _, oldest = client().invoices(customer, "open")
    client().pay(oldest["id"], key="")
    refresh("invoice", oldest["id"])


@contextmanager
def tried() -> Iterator[None]:
    """Take back at the end what happens inside; to those inside it is no open transaction."""
    before = transaction.savepoint()
    yield
    transaction.savepoint_rollback(before)


@pytest.fixture
def debtor(tenant: Tenant, buy: Buy) -> Tenant:
    """A tenant on the pro plan whose renewal has failed less than a day ago."""
    buy(tenant, "pro")
    give_card(tenant, DECLINED_CARD)
    with scope(tenant.organization):
        subscription = str(Subscription.objects.get().stripe_id)
    client().update_subscription(subscription, {"default_payment_method": ""}, key="")
    while failed_days_ago(tenant) is None:
        pass_day(tenant)
    return tenant


def test_every_day_is_as_our_table_says_and_paying_brings_the_plan_back_until_it_is_cancelled(debtor: Tenant) -> None:
    with scope(debtor.organization):
        projects = set(Project.objects.values_list("slug", flat=True))
    for day in range(LAST + 1):
        assert failed_days_ago(debtor) == day
        assert standing(debtor) == expected(day), day
        if day in PAID_ON:
            with tried():
                pay(debtor)
                assert standing(debtor) == ("ok", "full", "pro" if day < 60 else FREE), day
                assert (status(debtor) in ENDED) == (day >= 60)
                assert not client().invoices(customer_of(debtor.organization.pk), "open")
                pass_day(debtor)
                assert standing(debtor)[:2] == ("ok", "full")
        if day == 40:  # the next renewal has failed, too
            with tried():
                pay_oldest(debtor)
                assert standing(debtor) == ("past_due", "full", "pro")
        if day < LAST:
            pass_day(debtor)
    with scope(debtor.organization):
        assert Organization.objects.get().closed_at is None
        assert set(Project.objects.values_list("slug", flat=True)) == projects
        assert effective().columns["project_limit"] == current(FREE).limits["project_limit"]


def test_where_stripe_calls_it_unpaid_the_plan_waits_too_and_nothing_is_asked_for_what_was_not_given(
    debtor: Tenant,
) -> None:
    accounts.choose_after_retries(Books(keys.ACCOUNT), accounts.UNPAID)
    while (failed_days_ago(debtor) or 0) < 32:
        pass_day(debtor)
    assert (standing(debtor), status(debtor)) == (expected(32), "unpaid")
    with scope(debtor.organization):
        assert Debt.objects.filter(settled_at=None).count() == 1
    pay(debtor)
    assert (standing(debtor), status(debtor)) == (("ok", "full", "pro"), "active")
    [waiting] = client().invoices(customer_of(debtor.organization.pk), "draft")
    assert waiting["auto_advance"] is False


def test_an_account_that_ends_subscriptions_itself_is_found_out(
    debtor: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    assert ended_by_stripe() == []
    accounts.choose_after_retries(Books(keys.ACCOUNT), accounts.CANCEL)
    while (failed_days_ago(debtor) or 0) < 16:
        pass_day(debtor)
    with scope(debtor.organization):
        subscription = str(Subscription.objects.get().stripe_id)
    assert f"billing.ended_by_stripe subscription={subscription}" in caplog.text
    with pytest.raises(CommandError, match=f"{subscription} over a payment: set it to leave"):
        call_command("plan_catalogue", "--diff")


def status(tenant: Tenant) -> str:
    """The subscription's, in Stripe's words."""
    with scope(tenant.organization):
        return Subscription.objects.get().status
