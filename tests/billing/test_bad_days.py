"""Bad days from end to end: each has a clear answer, charges nobody twice, and loses nothing."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import stripe

from billing import stripe_client
from billing.credits.selectors import balance
from billing.credits.services import grant
from billing.models import BillingAccount, Subscription
from billing.plans import Interval, current
from billing.sandbox.transport import SandboxTransport
from billing.services import changes
from billing.services.accounts import customer_of
from billing.services.prices import items_for
from billing.services.seats import set_seats
from billing.stripe_client import StripeClient, StripeUnavailable, client
from billing.stripe_events import refresh
from tenancy.audit.services import SYSTEM
from tenancy.errors import Conflict, TenancyError
from tenancy.scope import scope
from tests.billing.services.conftest import buy, shop
from tests.billing.services.test_time_machine import advance
from tests.billing.shop import DECLINED_CARD, GOOD_CARD, give_card, publish, to_checkout
from tests.billing.signing import SECRET, make_event, post
from tests.factories import Tenant, make_tenant
from tests.threads import at_once

__all__ = ["buy", "shop"]
Buy = Callable[..., None]
DAY = timedelta(days=1)
BUSY = ('{"error": {"type": "invalid_request_error", "message": "Too many requests."}}', 429, {"Retry-After": "7"})


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of a server that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        kept: list[socket.socket] = []

        def listen() -> None:
            while True:
                try:
                    kept.append(listening.accept()[0])
                except OSError:
                    return

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        for one in kept:
            one.close()


def confirm(tenant: Tenant, seen: changes.Preview) -> None:
    changes.apply_change(organization_id=tenant.organization.pk, actor=tenant.actor, token=seen.token)


def preview(tenant: Tenant, plan_key: str = "scale") -> changes.Preview:
    return changes.preview_change(
        organization_id=tenant.organization.pk, plan_key=plan_key, interval="monthly", seats=0
    )


def plan_of(tenant: Tenant) -> str:
    with scope(tenant.organization):
        return Subscription.objects.get().plan_key


def paid(tenant: Tenant) -> list[int]:
    """What was charged, oldest first."""
    return [one["amount_paid"] for one in client().invoices(customer_of(tenant.organization.pk), "paid")][::-1]


@pytest.mark.django_db
def test_a_stripe_that_never_answers_is_given_up_in_time(mute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe, "api_base", mute)
    slow = StripeClient("sk_test_x", stripe.RequestsClient(timeout=0.2), lambda customer: 0)
    started = time.monotonic()
    with pytest.raises(StripeUnavailable) as caught:
        slow.retrieve("customer", "cus_1")
    assert caught.value.retry_after == stripe_client.OUTAGE_WAIT
    assert 0.2 < time.monotonic() - started < 20


def test_a_busy_stripe_changes_nothing_and_the_same_confirmation_charges_once_later(
    tenant: Tenant, buy: Buy, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(tenant, "pro")
    seen = preview(tenant)
    real = SandboxTransport.request

    def busy(self: SandboxTransport, method: str, url: str, *args: Any, **more: Any) -> Any:
        is_change = method == "post" and "/v1/subscriptions/" in url
        return BUSY if is_change else real(self, method, url, *args, **more)

    monkeypatch.setattr(SandboxTransport, "request", busy)
    with pytest.raises(StripeUnavailable, match="busy") as caught:
        confirm(tenant, seen)
    assert caught.value.retry_after == 7
    assert (plan_of(tenant), len(paid(tenant))) == ("pro", 1)
    monkeypatch.setattr(SandboxTransport, "request", real)
    confirm(tenant, seen)
    assert (plan_of(tenant), paid(tenant)[1:]) == ("scale", [seen.due_now])


def test_a_stripe_that_is_away_sells_nothing_and_leaves_no_page_behind(
    tenant: Tenant, shop: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: SandboxTransport, *args: Any, **more: Any) -> Any:
        raise stripe.APIConnectionError("No route to host")  # type: ignore[no-untyped-call]

    def open_page() -> str:
        return to_checkout(tenant, "http://testserver/")

    with monkeypatch.context() as away:
        away.setattr(SandboxTransport, "request", gone)
        with pytest.raises(StripeUnavailable, match="cannot be reached"):
            open_page()
    with scope(tenant.organization):
        account = BillingAccount.objects.first()
        assert account is None or (account.checkout_id, account.stripe_customer_id) == ("", None)
    assert open_page()


@pytest.mark.django_db(transaction=True)
def test_two_tabs_that_upgrade_at_the_same_moment_are_charged_for_one() -> None:
    tenant = make_tenant()
    publish()
    customer = give_card(tenant)
    found = client().create_subscription(customer, items_for(current("pro"), Interval.MONTHLY, 0), trial=None, key="")
    client().pay(str(found["latest_invoice"]), key="")
    refresh("subscription", found["id"])
    seen = {plan_key: preview(tenant, plan_key) for plan_key in ("scale", "enterprise")}
    results = at_once(*[lambda one=one: confirm(tenant, one) for one in seen.values()])
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "NoneType"]
    assert "meanwhile" in str(next(result for result in results if isinstance(result, Conflict)))
    assert paid(tenant)[1:] == [seen[plan_of(tenant)].due_now]


@pytest.mark.parametrize("late", [-240, 240], ids=["a clock behind ours", "a clock ahead of ours"])
@pytest.mark.django_db
def test_clocks_that_differ_by_minutes_lose_no_event(late: int, settings: Any) -> None:
    settings.STRIPE_WEBHOOK_SECRETS = [SECRET]
    event = make_event(created=int(time.time()) - late)
    assert post(event, at=time.time() - late).status_code == 200


def test_credits_of_another_currency_pay_nothing(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro")
    with scope(tenant.organization):
        grant(actor=SYSTEM, amount=5000, currency="eur", category="paid", reason="A test", ref="eur")
    advance(tenant, 40)
    assert paid(tenant) == [current("pro").monthly] * 2
    with scope(tenant.organization):
        assert balance("eur") == 5000


def test_a_customer_of_one_currency_is_not_billed_in_another(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro")
    customer = customer_of(tenant.organization.pk)
    with pytest.raises(stripe_client.StripeRefused, match="currenc"):
        client().create_invoice({"customer": customer, "currency": "eur"}, key="")
    assert len(client().invoices(customer)) == 1


@pytest.mark.parametrize("seats", [-1, -(10**9), 10**9])
def test_seats_that_cannot_be_cost_nothing(tenant: Tenant, buy: Buy, seats: int) -> None:
    buy(tenant, "pro")
    before = client().retrieve("subscription", _stripe_id(tenant))["items"]["data"]
    with pytest.raises(TenancyError):
        set_seats(organization_id=tenant.organization.pk, actor=tenant.actor, seats=seats)
    with pytest.raises(TenancyError):
        changes.preview_change(
            organization_id=tenant.organization.pk, plan_key="scale", interval="monthly", seats=seats
        )
    assert client().retrieve("subscription", _stripe_id(tenant))["items"]["data"] == before
    assert len(paid(tenant)) == 1


def _stripe_id(tenant: Tenant) -> str:
    with scope(tenant.organization):
        return str(Subscription.objects.get().stripe_id)


def test_a_renewal_that_failed_and_is_paid_on_its_page_is_not_tried_again(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro")
    give_card(tenant, DECLINED_CARD)
    client().update_subscription(_stripe_id(tenant), {"default_payment_method": ""}, key="")
    while not client().invoices(customer_of(tenant.organization.pk), "open"):
        advance(tenant, 1)
    customer = give_card(tenant, GOOD_CARD)
    [owed] = client().invoices(customer, "open")
    for _ in range(2):
        client().pay(owed["id"], key="the page")
    advance(tenant, 7)  # past the retry that was planned
    assert paid(tenant) == [current("pro").monthly] * 2
    assert plan_of(tenant) == "pro"
