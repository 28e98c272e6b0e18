"""Plans for sale in the simulator, and somebody who has bought one."""

from collections.abc import Callable

import pytest

from billing.sandbox import checkout as pages
from billing.sandbox import keys
from billing.sandbox.store import Books
from billing.services import subscriptions
from billing.stripe_events import refresh
from tests.billing.shop import publish
from tests.factories import Tenant


@pytest.fixture
def shop(db: None) -> None:
    """Every plan is for sale."""
    publish()


Buy = Callable[..., None]


@pytest.fixture
def buy(shop: None) -> Buy:
    """Goes through the checkout with a good card: `buy(tenant, "pro", seats=12)`."""

    def bought(tenant: Tenant, plan_key: str = "pro", *, interval: str = "monthly", seats: int = 0) -> None:
        url = subscriptions.checkout(
            organization_id=tenant.organization.pk,
            actor=tenant.actor,
            plan_key=plan_key,
            interval=interval,
            seats=seats,
            return_url="http://testserver/o/x/billing/",
        )
        session = pages.complete(Books(keys.ACCOUNT), url.rsplit("/", 1)[1], "visa", {})
        refresh("subscription", session["subscription"])

    return bought
