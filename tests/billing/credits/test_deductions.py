"""Credits pay invoices that Stripe collects: as far as they go, once, and they come back when they were not needed."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.utils import timezone

from billing.credits import selectors, tasks
from billing.credits.models import InvoiceCredit
from billing.credits.services.deductions import Deduction, burn_for_invoice, deduct, deduct_due, give_back
from billing.models import Subscription
from billing.plans import Interval, current
from billing.sandbox import clock
from billing.services.prices import items_for
from billing.stripe_client import StripeRefused, StripeUnavailable, client
from billing.stripe_events import refresh
from tenancy.scope import scope
from tests.billing.credits.conftest import Give
from tests.billing.shop import give_card, publish
from tests.factories import Tenant
from tests.threads import at_once

NOW = datetime(2026, 5, 1, tzinfo=UTC)
CLOSED = StripeRefused("invoice_not_editable", "Invoice items can only be added to draft invoices.")


class Drafts:
    """Takes deductions as it is told to, and remembers them."""

    def __init__(self, *answers: Exception) -> None:
        self.answers = list(answers)
        self.taken: list[Deduction] = []

    def __call__(self, deduction: Deduction) -> None:
        self.taken.append(deduction)
        if self.answers:
            raise self.answers.pop(0)


def burned(tenant: Tenant, total: int, ref: str = "in_1", now: datetime = NOW) -> InvoiceCredit | None:
    """A draft of the tenant is seen."""
    with scope(tenant.organization):
        return burn_for_invoice(invoice_ref=ref, total=total, currency="usd", now=now)


def balance(tenant: Tenant) -> int:
    """What the tenant can burn."""
    with scope(tenant.organization):
        return selectors.balance("usd", now=NOW)


def state(tenant: Tenant) -> str:
    """Where the tenant's only deduction stands."""
    with scope(tenant.organization):
        return InvoiceCredit.objects.get().state


@pytest.fixture
def rich(tenant: Tenant, give: Give) -> Tenant:
    """A tenant with 1,000 credits."""
    with scope(tenant.organization):
        give(1000, now=NOW)
    return tenant


def test_a_draft_burns_what_there_is_once_however_often_it_is_seen(rich: Tenant) -> None:
    first, second = burned(rich, 4900), burned(rich, 4900)
    assert first is not None
    assert first == second
    assert (first.amount, balance(rich)) == (1000, 0)
    drafts = Drafts()
    for _ in range(3):
        deduct_due(deductor=drafts, now=NOW)
    assert [(d.invoice_ref, d.amount, d.currency) for d in drafts.taken] == [("in_1", 1000, "usd")]
    assert state(rich) == "deducted"


def test_a_draft_that_costs_less_leaves_the_rest(rich: Tenant) -> None:
    burned(rich, 300)
    assert balance(rich) == 700


@pytest.mark.parametrize("total", [0, -500])
def test_a_draft_that_costs_nothing_burns_nothing(total: int, rich: Tenant) -> None:
    assert burned(rich, total) is None
    assert balance(rich) == 1000


def test_without_credits_a_later_look_may_still_burn_some(tenant: Tenant, give: Give) -> None:
    assert burned(tenant, 4900) is None
    with scope(tenant.organization):
        give(1000, now=NOW)
    assert burned(tenant, 4900) is not None


def test_a_draft_that_is_closed_gives_the_credits_back_to_be_burned_first(rich: Tenant) -> None:
    burned(rich, 4900)
    deduct_due(deductor=Drafts(CLOSED), now=NOW)
    assert (state(rich), balance(rich)) == ("returned", 1000)
    with scope(rich.organization):
        assert selectors.in_burn_order("usd", NOW)[0].priority == 0
    assert burned(rich, 4900) is not None
    assert balance(rich) == 1000


def test_a_void_invoice_gives_its_credits_back_once(rich: Tenant) -> None:
    burned(rich, 600)
    deduct_due(deductor=Drafts(), now=NOW)
    for _ in range(2):
        with scope(rich.organization):
            give_back(invoice_ref="in_1", now=NOW)
            give_back(invoice_ref="in_unknown", now=NOW)
    assert (state(rich), balance(rich)) == ("returned", 1000)


def test_a_provider_that_is_away_is_asked_again(rich: Tenant) -> None:
    burned(rich, 600)
    drafts = Drafts(StripeUnavailable("Away.", 30))
    deduct_due(deductor=drafts, now=NOW)
    assert state(rich) == "burned"
    deduct_due(deductor=drafts, now=NOW + timedelta(seconds=29))
    assert len(drafts.taken) == 1
    deduct_due(deductor=drafts, now=NOW + timedelta(seconds=30))
    assert (len(drafts.taken), state(rich)) == (2, "deducted")


def test_one_that_breaks_does_not_keep_the_others(
    rich: Tenant, stranger: Tenant, give: Give, caplog: pytest.LogCaptureFixture
) -> None:
    with scope(stranger.organization):
        give(1000, now=NOW)
    for each in (rich, stranger):
        burned(each, 600)
    with pytest.raises(ExceptionGroup):
        deduct_due(deductor=Drafts(ZeroDivisionError()), now=NOW)
    assert "credits.deduction_failed" in caplog.text
    assert {state(rich), state(stranger)} == {"burned", "deducted"}


def test_eight_workers_deduct_once(committed: Tenant, give: Give) -> None:
    with scope(committed.organization):
        give(1000, now=NOW)
    credit = burned(committed, 600)
    assert credit is not None
    drafts = Drafts()
    work = partial(deduct, organization_id=committed.organization.pk, credit_id=credit.pk, deductor=drafts, now=NOW)
    at_once(*[work] * 8)
    assert len(drafts.taken) == 1


def test_a_renewal_at_stripe_costs_less_by_the_credits(tenant: Tenant, give: Give) -> None:
    publish()
    customer = give_card(tenant)
    items = items_for(current("pro"), Interval.MONTHLY, 0)
    found = client().create_subscription(customer, items, trial=None, key="")
    client().pay(str(found["latest_invoice"]), key="")
    refresh("subscription", found["id"])
    with scope(tenant.organization):
        give(1000)
        left = Subscription.objects.get().period_end - timezone.now()
    clock.advance(customer, left + timedelta(minutes=1))
    [draft] = [one for one in client()._pages("invoices", {"customer": customer}) if one["status"] == "draft"]
    for _ in range(2):
        refresh("invoice", draft["id"])
        tasks.deduct_due()
    clock.advance(customer, timedelta(hours=2))
    paid = client().retrieve("invoice", draft["id"])
    assert paid["status"] == "paid"
    assert (paid["total"], draft["total"] - paid["total"]) == (current("pro").monthly - 1000, 1000)
    assert [line["amount"] for line in paid["lines"]["data"] if line["description"] == "Paid with credits"] == [-1000]
    with scope(tenant.organization):
        assert selectors.balance("usd") == 0
        assert InvoiceCredit.objects.get().state == "deducted"


def test_a_task_of_its_own_deducts_at_once(rich: Tenant) -> None:
    credit = burned(rich, 600)
    assert credit is not None
    tasks.deduct(organization_id=str(rich.organization.pk), credit_id=str(credit.pk))
    assert (state(rich), balance(rich)) == ("returned", 1000)  # Stripe knows no such draft
