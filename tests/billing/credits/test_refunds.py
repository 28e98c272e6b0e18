"""Money that goes back takes its credits along: what is left is void, what was spent is owed, in any order."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.credits import selectors
from billing.credits.models import AccountKind, Transaction
from billing.credits.services import burn, void
from billing.credits.services.refunds import restore, take_back
from billing.credits.services.top_ups import request, settle
from billing.money import share
from billing.services import inbox
from billing.stripe_client import client
from billing.stripe_events import process, refresh
from tenancy.audit import actions
from tenancy.audit import selectors as trail
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.billing.credits.conftest import Give
from tests.billing.credits.test_cashier import balance, bought
from tests.billing.shop import give_card
from tests.billing.signing import make_event
from tests.factories import Tenant


@pytest.fixture
def paid(tenant: Tenant) -> Tenant:
    """A tenant that has bought 2,000 credits with the invoice in_1."""
    buy(tenant, "in_1")
    return tenant


def buy(tenant: Tenant, invoice: str, amount: int = 2000) -> None:
    """Buy credits, paid by the invoice."""
    with scope(tenant.organization):
        wish = request(actor=tenant.actor, amount=amount, currency="usd")
        settle(top_up_id=wish.pk, payment_ref=invoice)


def spend(tenant: Tenant, amount: int) -> None:
    """Use credits."""
    with scope(tenant.organization):
        burn(actor=SYSTEM, amount=amount, currency="usd", ref=f"use-{Transaction.objects.count()}")


def refund(tenant: Tenant, amount: int, ref: str = "re_1", invoice: str = "in_1", total: int = 2000) -> None:
    """Give money back."""
    with scope(tenant.organization):
        take_back(invoice_ref=invoice, refund_ref=ref, amount=amount, total=total)


def standing(tenant: Tenant) -> tuple[int, int]:
    """What can be burned, and what is owed; the books sum to zero."""
    with scope(tenant.organization):
        assert sum(selectors.accounts("usd").values()) == 0
        return selectors.balance("usd"), selectors.owed("usd")


def test_a_refund_takes_back_what_is_left(paid: Tenant) -> None:
    refund(paid, 2000)
    assert standing(paid) == (0, 0)
    with scope(paid.organization):
        assert selectors.accounts("usd")[AccountKind.VOIDED] == 2000
        assert actions.CREDITS_REFUNDED.name in [one.action for one in trail.events()]


def test_what_was_spent_is_owed_and_the_next_purchase_pays_it_first(paid: Tenant) -> None:
    spend(paid, 1500)
    refund(paid, 2000)
    assert standing(paid) == (0, 1500)
    buy(paid, "in_2", 1000)
    assert standing(paid) == (0, 500)
    buy(paid, "in_3", 1000)
    assert standing(paid) == (500, 0)
    with scope(paid.organization):
        assert [one.repaid for one in selectors.grants()] == [500, 1000, 0]
        assert [one.action for one in trail.events()].count(actions.CREDITS_REPAID.name) == 2


def test_a_part_takes_a_part_and_several_parts_no_more_than_there_was(paid: Tenant) -> None:
    spend(paid, 600)
    refund(paid, 1000)
    assert standing(paid) == (400, 0)
    refund(paid, 1000, "re_2")
    assert standing(paid) == (0, 600)


def test_a_refund_that_is_told_twice_takes_once(paid: Tenant) -> None:
    for _ in range(2):
        refund(paid, 500)
    assert standing(paid) == (1500, 0)


def test_tax_that_is_given_back_takes_no_credits(paid: Tenant) -> None:
    refund(paid, 1190, total=2380)  # half of the invoice, 19 % tax among it
    assert standing(paid) == (1000, 0)


def test_other_credits_are_not_touched(paid: Tenant, give: Give) -> None:
    with scope(paid.organization):
        give(300, category="promotional")
    refund(paid, 2000)
    assert standing(paid) == (300, 0)


def test_given_credits_do_not_pay_what_is_owed(paid: Tenant, give: Give) -> None:
    spend(paid, 2000)
    refund(paid, 2000)
    with scope(paid.organization):
        give(300, category="promotional")
    assert standing(paid) == (300, 2000)


def test_credits_that_were_void_already_are_not_owed(paid: Tenant) -> None:
    with scope(paid.organization):
        void(actor=SYSTEM, grant_id=selectors.grants()[0].grant.pk, reason="A test")
    refund(paid, 2000)
    assert standing(paid) == (0, 0)


@pytest.mark.parametrize(("spent", "bought_since", "after"), [(0, 0, 2000), (1500, 0, 500), (1500, 2000, 2500)])
def test_a_refund_that_fails_gives_it_all_back(paid: Tenant, spent: int, bought_since: int, after: int) -> None:
    if spent:
        spend(paid, spent)
    refund(paid, 2000)
    if bought_since:
        buy(paid, "in_2", bought_since)
    with scope(paid.organization):
        restore(refund_ref="re_unknown")
        for _ in range(2):
            restore(refund_ref="re_1")
        assert [one.action for one in trail.events()].count(actions.CREDITS_RESTORED.name) == 1
    assert standing(paid) == (after, 0)
    refund(paid, 2000)  # it stays what it was, however often it is told
    assert standing(paid) == (after, 0)


def test_an_invoice_that_bought_no_credits_takes_none(paid: Tenant) -> None:
    refund(paid, 2000, invoice="in_other")
    assert standing(paid) == (2000, 0)


@given(amount=st.integers(1, 10**9), whole=st.integers(1, 10**9), data=st.data())
def test_a_share_is_between_nothing_and_all_and_off_by_half_at_most(amount: int, whole: int, data: Any) -> None:
    part = data.draw(st.integers(0, whole))
    assert 0 <= share(amount, part, whole) <= amount
    assert abs(share(amount, part, whole) * whole - amount * part) * 2 <= whole
    assert share(amount, whole, whole) == amount


@pytest.mark.parametrize("order", list(itertools.permutations(["invoice", "refund", "refund"]))[:3])
def test_from_stripe_in_any_order(tenant: Tenant, order: tuple[str, ...]) -> None:
    give_card(tenant)
    purchase = bought(tenant, 2000)
    spend(tenant, 700)
    [payment] = client().payments(purchase.payment_ref)
    # as from Stripe's dashboard: nothing on it says what it is of
    form = {"payment_intent": payment["payment"]["payment_intent"], "amount": 1500}
    made = client()._post("refunds", form, "")
    for kind in order:
        refresh(kind, purchase.payment_ref if kind == "invoice" else made["id"])
    assert (balance(tenant), standing(tenant)) == (0, (0, 200))


def test_a_refund_is_heard_by_its_event(tenant: Tenant) -> None:
    give_card(tenant)
    purchase = bought(tenant, 2000)
    [payment] = client().payments(purchase.payment_ref)
    refresh("invoice", purchase.payment_ref)
    made = client().refund(payment["payment"]["payment_intent"], 2000, invoice=purchase.payment_ref, key="")
    inbox.receive(make_event("refund", made["id"], type="refund.created"))
    while process():
        pass
    assert standing(tenant) == (0, 0)
