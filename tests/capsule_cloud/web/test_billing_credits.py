"""Credits on a page: the balance, the order they burn in, every movement, and buying more."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from billing.credits.models import AutoTopUp, Category, TopUp
from billing.credits.services import burn, grant, top_ups
from billing.credits.services.refunds import take_back
from tenancy.audit.services import SYSTEM
from tenancy.roles import Role
from tenancy.scope import scope
from tests.capsule_cloud.web.conftest import Page, SignIn, queries
from tests.factories import Tenant, add_member


def give(tenant: Tenant, amount: int, reason: str, priority: int = 5, days: int | None = None) -> None:
    expires_at = None if days is None else timezone.now() + timedelta(days=days)
    with scope(tenant.organization):
        grant(
            actor=SYSTEM,
            amount=amount,
            currency="usd",
            priority=priority,
            expires_at=expires_at,
            category=Category.PROMOTIONAL,
            reason=reason,
            ref=uuid4().hex,
        )


def test_without_credits_the_page_says_where_they_come_from(page: Page) -> None:
    text = page("billing/credits/")
    assert "No credits" in text
    assert "$0.00" in text


def test_what_burns_next_stands_first(tenant: Tenant, page: Page) -> None:
    give(tenant, 50_00, "Bought first")
    give(tenant, 20_00, "Expires soon", days=3)
    give(tenant, 10_00, "Goes before all", priority=0)
    with scope(tenant.organization):
        burn(actor=SYSTEM, amount=4_00, currency="usd", ref="test")
    text = page("billing/credits/").split("What is used next")[1].split("Movements")[0]
    assert text.index("Goes before all") < text.index("Expires soon") < text.index("Bought first")
    assert '$6.00</b> <span class="dim">of $10.00' in text
    assert "$76.00" in page("billing/credits/")


def test_what_is_owed_after_a_refund_is_said_until_a_purchase_has_paid_it(tenant: Tenant, page: Page) -> None:
    def buy(invoice: str) -> None:
        wish = top_ups.request(actor=tenant.actor, amount=20_00, currency="usd")
        top_ups.settle(top_up_id=wish.pk, payment_ref=invoice)

    with scope(tenant.organization):
        buy("in_1")
        burn(actor=SYSTEM, amount=12_00, currency="usd", ref="use")
        assert "Owed" not in page("billing/credits/")
        take_back(invoice_ref="in_1", refund_ref="re_1", amount=20_00, total=20_00)
        assert "Owed: $12.00" in page("billing/credits/")
        buy("in_2")
        assert "Owed" not in page("billing/credits/")


def test_movements_are_read_page_by_page(tenant: Tenant, page: Page) -> None:
    for number in range(27):
        give(tenant, 1_00, f"Reason {number:02}")
    text = page("billing/credits/").split("Movements")[1]
    assert "Reason 26" in text
    assert "Reason 01" not in text
    older = text.split("?after=")[1].split('"')[0]
    assert "Reason 01" in page(f"billing/credits/?after={older}").split("Movements")[1]
    page("billing/credits/?after=nothing", 404)


def test_credits_are_bought_in_dollars_and_counted_in_cents(tenant: Tenant, post: Page) -> None:
    assert "$25.50 of credits are being paid." in post("billing/credits/buy/", {"amount": "25.50"})
    with scope(tenant.organization):
        assert TopUp.objects.get().amount == 25_50


@pytest.mark.parametrize("amount", ["", "x", "-5", "4.99", "1.001", "99999999", "NaN", "1e3000"])
def test_an_amount_that_cannot_be_is_refused(tenant: Tenant, post: Page, amount: str) -> None:
    assert "field-error" in post("billing/credits/buy/", {"amount": amount}, status=422)
    with scope(tenant.organization):
        assert not TopUp.objects.exists()


def test_credits_buy_themselves_as_chosen(tenant: Tenant, page: Page, post: Page) -> None:
    form = {"is_on": "on", "threshold": "10", "amount": "50", "monthly_maximum": "200"}
    assert "Saved." in post("billing/credits/automatic/", form)
    with scope(tenant.organization):
        chosen = AutoTopUp.objects.get()
    assert (chosen.threshold, chosen.amount, chosen.monthly_maximum, chosen.is_on) == (10_00, 50_00, 200_00, True)
    assert 'value="200.00"' in page("billing/credits/")
    refused = post("billing/credits/automatic/", form | {"monthly_maximum": "20"}, status=422)
    assert "must allow one purchase" in refused


def test_an_admin_sees_credits_and_buys_none(tenant: Tenant, sign_in: SignIn, home: str) -> None:
    browser = sign_in(add_member(tenant, Role.ADMIN, "Adam"))
    assert "Buy credits" not in browser.get(f"{home}billing/credits/").content.decode()
    assert browser.post(f"{home}billing/credits/buy/", {"amount": "25"}).status_code == 403


def test_more_grants_and_movements_cost_no_more_queries(tenant: Tenant, owner: Client, home: str) -> None:
    give(tenant, 1_00, "One")
    few = queries(owner, f"{home}billing/credits/")
    for _ in range(8):
        give(tenant, 1_00, "More")
    assert queries(owner, f"{home}billing/credits/") == few
