"""Top-ups are paid at Stripe's twin: one invoice each, collected once, and none left behind that nobody asked for."""

from typing import Any

from django.utils import timezone

from billing.credits import selectors, tasks
from billing.credits.cashier import charge
from billing.credits.models import TopUp
from billing.credits.services import burn
from billing.credits.services.auto_top_ups import configure
from billing.credits.services.top_ups import Order, request
from billing.services.projection import project
from billing.stripe_client import client
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.billing.credits.conftest import Give
from tests.billing.shop import DECLINED_CARD, give_card, pay_there, publish, to_checkout
from tests.factories import Tenant


def invoices_of(customer: str) -> list[dict[str, Any]]:
    """The customer's invoices."""
    return list(client()._pages("invoices", {"customer": customer}))


def bought(tenant: Tenant, amount: int = 2000) -> TopUp:
    """A purchase by hand, after the worker has had it."""
    with scope(tenant.organization):
        wish = request(actor=tenant.actor, amount=amount, currency="usd")
    tasks.pay_top_up(organization_id=str(tenant.organization.pk), top_up_id=str(wish.pk))
    with scope(tenant.organization):
        return selectors.top_ups()[0]


def balance(tenant: Tenant) -> int:
    """What the tenant can burn."""
    with scope(tenant.organization):
        return selectors.balance("usd")


def test_a_good_card_buys_credits_within_one_task(tenant: Tenant) -> None:
    customer = give_card(tenant)
    paid = bought(tenant)
    assert (paid.state, balance(tenant)) == ("paid", 2000)
    [invoice] = invoices_of(customer)
    assert (invoice["status"], invoice["total"], invoice["currency"]) == ("paid", 2000, "usd")
    assert invoice["id"] == paid.payment_ref


def test_an_order_that_is_tried_again_is_charged_once(tenant: Tenant) -> None:
    customer = give_card(tenant)
    with scope(tenant.organization):
        wish = request(actor=tenant.actor, amount=2000, currency="usd")
    order = Order(wish.pk, tenant.organization.pk, wish.amount, wish.currency, is_automatic=False)
    assert charge(order) == charge(order)
    assert len(invoices_of(customer)) == 1


def test_without_a_card_the_customer_gets_a_page_and_the_payment_there_brings_the_credits(tenant: Tenant) -> None:
    waiting = bought(tenant)
    assert (waiting.state, balance(tenant)) == ("open", 0)
    assert waiting.page_url.startswith("http")
    give_card(tenant)
    paid = client().pay(waiting.payment_ref, key="by-the-customer")
    with scope(tenant.organization):
        project("invoice", paid, timezone.now())
    assert balance(tenant) == 2000


def test_an_automatic_top_up_that_is_declined_leaves_no_open_invoice(tenant: Tenant, give: Give) -> None:
    customer = give_card(tenant, DECLINED_CARD)
    with scope(tenant.organization):
        give(1000)
        configure(actor=tenant.actor, currency="usd", threshold=500, amount=1000, monthly_maximum=5000)
        burn(actor=SYSTEM, amount=900, currency="usd", ref="usage")
    tasks.pay_due_top_ups()
    with scope(tenant.organization):
        [wish] = selectors.top_ups()
        chosen = selectors.auto_top_up("usd")
    assert wish.state == "failed"
    assert "declined" in wish.error
    assert chosen is not None
    assert chosen.stopped_at is not None
    assert [invoice["status"] for invoice in invoices_of(customer)] == ["void"]
    assert balance(tenant) == 100


def test_the_event_of_crossing_is_paid_by_the_next_task(tenant: Tenant, give: Give) -> None:
    give_card(tenant)
    with scope(tenant.organization):
        give(1000)
        configure(actor=tenant.actor, currency="usd", threshold=500, amount=1000, monthly_maximum=5000)
        burn(actor=SYSTEM, amount=600, currency="usd", ref="usage")
    tasks.pay_due_top_ups()
    assert balance(tenant) == 1400
    with scope(tenant.organization):
        assert selectors.top_ups()[0].settled_at is not None


def test_the_card_that_the_checkout_took_pays_automatic_top_ups(tenant: Tenant, give: Give) -> None:
    publish()
    url = to_checkout(tenant)
    customer = pay_there(url)["customer"]
    assert client().retrieve("customer", customer)["invoice_settings"]["default_payment_method"] is None
    with scope(tenant.organization):
        give(1000)
        configure(actor=tenant.actor, currency="usd", threshold=500, amount=1000, monthly_maximum=5000)
        burn(actor=SYSTEM, amount=600, currency="usd", ref="usage")
    tasks.pay_due_top_ups()
    with scope(tenant.organization):
        [wish] = selectors.top_ups()
    assert (wish.state, wish.error, balance(tenant)) == ("paid", "", 1400)
    assert next((one["status"], one["total"]) for one in invoices_of(customer)) == ("paid", 1000)


def test_a_try_whose_answer_was_lost_counts_as_paid_after_the_card_has_changed(tenant: Tenant) -> None:
    customer = give_card(tenant)
    with scope(tenant.organization):
        wish = request(actor=tenant.actor, amount=2000, currency="usd")
    order = Order(wish.pk, tenant.organization.pk, wish.amount, wish.currency, is_automatic=True)
    first = charge(order)
    give_card(tenant, DECLINED_CARD)
    assert charge(order) == first
    assert [one["status"] for one in invoices_of(customer)] == ["paid"]
