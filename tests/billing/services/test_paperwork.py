"""A disputed payment is said, shown and written down; lost, it is asked for once more, and counted once."""

import itertools

import pytest
from django.core import mail
from pytest_django import DjangoCaptureOnCommitCallbacks

from billing.credits import selectors as credits_of
from billing.models import Debt, Document, Dunning, Subscription
from billing.plans import Interval, current
from billing.services import inbox, time_machine
from billing.services.accounts import customer_of
from billing.services.prices import items_for
from billing.stripe_client import client
from billing.stripe_events import process, refresh
from tenancy.audit import actions
from tenancy.audit import selectors as trail
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.credits.test_cashier import balance, bought
from tests.billing.credits.test_refunds import spend, standing
from tests.billing.shop import GOOD_CARD, give_card, publish
from tests.billing.signing import make_event
from tests.factories import Tenant

DISPUTED_CARD = "pm_card_createDispute"
Capture = DjangoCaptureOnCommitCallbacks


def disputes() -> list[dict[str, object]]:
    return list(client()._pages("disputes", {}))


@pytest.fixture
def disputed(tenant: Tenant, db: None) -> tuple[Tenant, str]:
    """A tenant on pro whose first payment is disputed, and the dispute."""
    publish()
    customer = give_card(tenant, DISPUTED_CARD)
    found = client().create_subscription(customer, items_for(current("pro"), Interval.MONTHLY, 0), trial=None, key="")
    client().pay(str(found["latest_invoice"]), key="")
    give_card(tenant, GOOD_CARD)
    refresh("subscription", found["id"])
    refresh("invoice", found["latest_invoice"])
    [dispute] = [one for one in disputes() if one["payment_intent"] in payments(str(found["latest_invoice"]))]
    return tenant, str(dispute["id"])


def payments(invoice: str) -> list[str]:
    return [one["payment"]["payment_intent"] for one in client().payments(invoice)]


def answer(dispute: str, word: str) -> None:
    """The bank decides by the evidence."""
    client()._post(f"disputes/{dispute}", {"evidence": {"uncategorized_text": f"{word}_evidence"}}, "")


def kept(tenant: Tenant, dispute: str) -> Document:
    with scope(tenant.organization):
        return Document.objects.get(stripe_id=dispute)


def owed(tenant: Tenant) -> list[int]:
    with scope(tenant.organization):
        return [one.amount for one in Debt.objects.filter(settled_at=None, failed_at__isnull=False)]


def actions_of(tenant: Tenant) -> list[str]:
    with scope(tenant.organization):
        return [one.action for one in trail.events() if one.action.startswith("billing.dispute")]


def test_a_dispute_is_said_and_closes_nothing(
    disputed: tuple[Tenant, str], django_capture_on_commit_callbacks: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    tenant, dispute = disputed
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(2):
            refresh("dispute", dispute)
    found = kept(tenant, dispute)
    assert (found.kind, found.status, found.total) == ("dispute", "needs_response", current("pro").monthly)
    assert found.invoice_stripe_id
    assert found.due_at
    assert [letter.subject for letter in mail.outbox] == ["A payment is disputed"]
    assert actions_of(tenant) == [actions.BILLING_DISPUTE_OPENED.name]
    assert "billing.dispute.opened" in caplog.text  # for staff
    assert owed(tenant) == []
    with scope(tenant.organization):
        assert Organization.objects.get().access == "full"
        assert Subscription.objects.get().status == "active"


def test_one_that_is_won_leaves_everything_as_it_was(
    disputed: tuple[Tenant, str], django_capture_on_commit_callbacks: Capture
) -> None:
    tenant, dispute = disputed
    answer(dispute, "winning")
    with django_capture_on_commit_callbacks(execute=True):
        refresh("dispute", dispute)
    assert kept(tenant, dispute).status == "won"
    assert owed(tenant) == []
    assert actions_of(tenant) == [actions.BILLING_DISPUTE_CLOSED.name, actions.BILLING_DISPUTE_OPENED.name]
    assert mail.outbox[-1].subject == "The dispute of a payment was won"


@pytest.mark.parametrize("order", list(itertools.permutations(["created", "closed", "invoice"])))
def test_one_that_is_lost_is_owed_once_in_any_order(disputed: tuple[Tenant, str], order: tuple[str, ...]) -> None:
    tenant, dispute = disputed
    answer(dispute, "losing")
    customer = customer_of(tenant.organization.pk)
    paid = client().invoices(customer)[-1]["id"]
    for kind in [*order, *order]:
        event = make_event("invoice", paid) if kind == "invoice" else make_event("dispute", dispute)
        inbox.receive(event)
        while process():
            pass
    assert owed(tenant) == [current("pro").monthly]
    [asked] = client().invoices(customer, "open")
    assert asked["metadata"] == {"dispute": dispute}
    assert kept(tenant, dispute).settled_at
    with scope(tenant.organization):
        assert Document.objects.get(stripe_id=paid).status == "paid"
        assert Document.objects.get(stripe_id=asked["id"]).page_url


def test_a_lost_one_leads_where_every_unpaid_invoice_does_and_paying_ends_it(disputed: tuple[Tenant, str]) -> None:
    tenant, dispute = disputed
    answer(dispute, "losing")
    refresh("dispute", dispute)
    time_machine.advance(organization_id=tenant.organization.pk, actor=tenant.actor, days=7)
    with scope(tenant.organization):
        assert Dunning.objects.get().state == "past_due"
    [asked] = client().invoices(customer_of(tenant.organization.pk), "open")
    client().pay(asked["id"], key="")
    refresh("invoice", asked["id"])
    with scope(tenant.organization):
        assert Dunning.objects.get().state == "ok"
    assert owed(tenant) == []


def test_a_lost_purchase_of_credits_takes_them_back_and_asks_for_nothing_twice(tenant: Tenant) -> None:
    customer = give_card(tenant, DISPUTED_CARD)
    purchase = bought(tenant, 2000)
    spend(tenant, 300)
    [dispute] = [str(one["id"]) for one in disputes() if one["payment_intent"] in payments(purchase.payment_ref)]
    refresh("invoice", purchase.payment_ref)
    refresh("dispute", dispute)
    assert balance(tenant) == 1700  # while the bank decides
    answer(dispute, "losing")
    for _ in range(2):
        refresh("dispute", dispute)
    assert standing(tenant) == (0, 300)
    assert owed(tenant) == []
    assert client().invoices(customer, "open") == []
    with scope(tenant.organization):
        assert credits_of.owed("usd") == 300
