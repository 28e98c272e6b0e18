"""A Stripe account of the test's own, reached by stripe-python as a real one would be."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
import stripe
from django.utils import timezone

from billing.sandbox import contract
from billing.sandbox.models import Delivery
from billing.sandbox.transport import SandboxTransport

START = 1_800_000_000  # 15 Jan 2027, 08:00 UTC


@dataclass
class Account:
    """An account in the sandbox and a client on it."""

    name: str
    key: str
    transport: SandboxTransport
    client: stripe.StripeClient
    made: dict[str, Any] = field(default_factory=dict)

    def call(self, method: str, path: str, **form: Any) -> dict[str, Any]:
        """Any operation, as a plain dict."""
        answer: dict[str, Any] = self.client.raw_request(method, f"/v1/{path}", **form).data.copy()
        return answer

    def product(self) -> str:
        """A product, the same for the whole test."""
        if "product" not in self.made:
            self.made["product"] = self.client.v1.products.create({"name": "Pro"}).id
        return str(self.made["product"])

    def price(self, amount: int = 2000, **more: Any) -> stripe.Price:
        """A monthly price unless said otherwise."""
        form = {"product": self.product(), "currency": "usd", "unit_amount": amount, "recurring": {"interval": "month"}}
        return self.client.v1.prices.create(form | more)  # type: ignore[arg-type]

    def clock(self, at: int = START) -> stripe.test_helpers.TestClock:
        """A test clock."""
        return self.client.v1.test_helpers.test_clocks.create({"frozen_time": at})

    def advance(self, clock: str, to: int) -> None:
        """Move a clock."""
        self.client.v1.test_helpers.test_clocks.advance(clock, {"frozen_time": to})

    def customer(self, card: str | None = "pm_card_visa", **more: Any) -> stripe.Customer:
        """A customer who pays with the card."""
        made = self.client.v1.customers.create({"email": "a@example.com"} | more)  # type: ignore[arg-type]
        if card:
            self.card(made.id, card)
        return made

    def card(self, customer: str, card: str) -> None:
        """Give the customer another card to pay with."""
        method = self.client.v1.payment_methods.attach(card, {"customer": customer})
        self.client.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method.id}})

    def subscribe(self, customer: str, *prices: str, **more: Any) -> stripe.Subscription:
        """Subscribe the customer to the prices."""
        form = {"customer": customer, "items": [{"price": price} for price in prices]}
        return self.client.v1.subscriptions.create(form | more)  # type: ignore[arg-type]

    def events(self, *names: str) -> list[str]:
        """The names of the events so far, oldest first; only these where some are given."""
        found = [event.type for event in self.client.v1.events.list({"limit": 100}).auto_paging_iter()]
        return [name for name in reversed(found) if not names or name in names]

    def invoices(self, subscription: str) -> list[stripe.Invoice]:
        """The subscription's invoices, newest first."""
        return self.client.v1.invoices.list({"subscription": subscription, "limit": 100}).data


def open_account() -> Account:
    """A new account with a key of its own."""
    name, key = f"acct_{uuid4().hex[:16]}", f"sk_test_{uuid4().hex}"
    transport = SandboxTransport({key: name})
    client = stripe.StripeClient(key, http_client=transport, stripe_version=contract.version(), max_network_retries=0)
    return Account(name, key, transport, client)


@pytest.fixture
def account(db: None) -> Account:
    """An account that only this test uses; what other tests have left under way is not delivered."""
    Delivery.objects.filter(done_at=None).update(done_at=timezone.now())
    return open_account()


@pytest.fixture
def another(db: None) -> Callable[[], Account]:
    """Opens further accounts."""
    return open_account


@pytest.fixture
def committed_account(transactional_db: None) -> Account:
    """An account whose changes other connections see."""
    return open_account()
