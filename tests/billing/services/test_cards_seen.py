"""Whether there is a card follows Stripe's truth, whichever event says so and in whatever order they come."""

import itertools

import pytest

from billing.models import BillingAccount, Subscription
from billing.sandbox import keys
from billing.sandbox.models import Object
from billing.services import inbox
from billing.services.projection import project
from billing.stripe_client import client
from billing.stripe_events import now, process
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.billing.shop import give_card, publish
from tests.billing.signing import make_event
from tests.factories import Tenant


def has_card(tenant: Tenant) -> bool:
    with scope(tenant.organization):
        return BillingAccount.objects.get().has_payment_method


def hear(customer: str, after: int = 0, *, order: int = 0) -> int:
    """Let the customer's events since `after` arrive, in the order of the number; the last one's key."""
    rows = list(Object.objects.filter(account=keys.ACCOUNT, kind="event", customer=customer, pk__gt=after))
    rows += [
        one
        for one in Object.objects.filter(account=keys.ACCOUNT, kind="event", customer="", pk__gt=after)
        if one.body["type"].startswith("payment_method")
    ]
    events = sorted(rows, key=lambda row: row.pk)
    for row in next(itertools.islice(itertools.permutations(events[:4]), order, None)) + tuple(events[4:]):
        inbox.receive({name: value for name, value in row.body.items() if name != "_"})
        while process():
            pass
    return max([after, *(row.pk for row in events)])


@pytest.fixture
def carded(tenant: Tenant) -> tuple[Tenant, str, int]:
    """A tenant with a card on file, its customer, and the last event that was heard."""
    publish()
    customer = give_card(tenant)
    mark = hear(customer)
    assert has_card(tenant)
    return tenant, customer, mark


def methods(customer: str) -> list[str]:
    return [one["id"] for one in client()._pages("payment_methods", {"customer": customer})]


@pytest.mark.parametrize("order", range(6))
def test_a_card_that_is_detached_is_none_any_more(carded: tuple[Tenant, str, int], order: int) -> None:
    tenant, customer, mark = carded
    [method] = methods(customer)
    client()._post(f"payment_methods/{method}/detach", {}, "")
    hear(customer, mark, order=order % 2)
    assert not has_card(tenant)


def test_the_event_of_the_detached_card_is_enough(carded: tuple[Tenant, str, int]) -> None:
    tenant, customer, _ = carded
    [method] = methods(customer)
    client()._post(f"payment_methods/{method}/detach", {}, "")
    inbox.receive(make_event("payment_method", method, type="payment_method.detached"))
    while process():
        pass
    assert not has_card(tenant)


def test_so_is_who_had_it_before_where_its_coming_was_never_heard(tenant: Tenant) -> None:
    publish()
    customer = give_card(tenant)
    with scope(tenant.organization):
        BillingAccount.objects.update(has_payment_method=True)
    [method] = methods(customer)
    client()._post(f"payment_methods/{method}/detach", {}, "")
    event = make_event("payment_method", method, type="payment_method.detached")
    event["data"]["previous_attributes"] = {"customer": customer}
    inbox.receive(event)
    while process():
        pass
    assert not has_card(tenant)


def test_a_default_that_is_taken_off_counts_where_a_subscription_runs_too(
    carded: tuple[Tenant, str, int], buy: Buy
) -> None:
    tenant, customer, mark = carded
    buy(tenant, "pro")
    mark = hear(customer, mark)
    client().update_customer(customer, {"invoice_settings": {"default_payment_method": ""}}, key="")
    mark = hear(customer, mark)
    assert has_card(tenant)  # the subscription has one of its own
    with scope(tenant.organization):
        subscription = str(Subscription.objects.get().stripe_id)
    client().update_subscription(subscription, {"default_payment_method": ""}, key="")
    hear(customer, mark)
    assert not has_card(tenant)


def test_an_older_answer_does_not_bring_a_card_back(carded: tuple[Tenant, str, int]) -> None:
    tenant, customer, mark = carded
    before, at = client().retrieve("customer", customer), now()
    [method] = methods(customer)
    client()._post(f"payment_methods/{method}/detach", {}, "")
    hear(customer, mark)
    with scope(tenant.organization):
        project("customer", before, at)
    assert not has_card(tenant)


def test_another_card_is_seen_again(carded: tuple[Tenant, str, int]) -> None:
    tenant, customer, mark = carded
    [method] = methods(customer)
    client()._post(f"payment_methods/{method}/detach", {}, "")
    mark = hear(customer, mark)
    give_card(tenant)
    hear(customer, mark)
    assert has_card(tenant)


def test_a_customer_that_is_gone_has_none(carded: tuple[Tenant, str, int]) -> None:
    tenant, customer, mark = carded
    client()._call("delete", f"customers/{customer}")
    hear(customer, mark)
    assert not has_card(tenant)
