"""A subscription gets from the prices it has to those of its new plan, and keeps what was agreed by hand."""

import pytest

from billing.plans import Interval, current
from billing.services.prices import items_for
from billing.stripe_client import StripeRefused, client
from tests.billing.objects import Json, item_object

pytestmark = pytest.mark.django_db
PRO, SCALE = current("pro"), current("scale")


def prices(*keys: str) -> list[str]:
    found = client().prices_by_key(list(keys))
    return [found[key]["id"] for key in keys]


def test_a_new_subscription_has_its_price_its_extra_people_and_its_meters(shop: None) -> None:
    items = items_for(PRO, Interval.MONTHLY, 13)
    [fixed, seat] = prices("pro-v1-monthly", "pro-v1-seat")
    assert [(item.price, item.quantity) for item in items if item.quantity is not None] == [(fixed, 1), (seat, 3)]
    metered = [price.lookup_key for price in PRO.prices if price.allowance is not None]
    assert sorted(item.price for item in items if item.quantity is None) == sorted(prices(*metered))


def test_what_there_is_becomes_what_is_wanted(shop: None) -> None:
    fixed, seat, by_hand = item_object("pro-v1-yearly"), item_object("pro-v1-seat", 3), item_object("")
    gone = item_object("pro-v1-storage_of_old", None)
    existing: list[Json] = [fixed, seat, by_hand, gone]
    items = items_for(SCALE, Interval.MONTHLY, 0, existing=existing)
    changes = {item.id: item for item in items if item.id}
    assert changes[fixed["id"]].price == prices("scale-v1-monthly")[0]
    assert changes[seat["id"]].is_deleted
    assert changes[gone["id"]].is_deleted
    assert by_hand["id"] not in changes


def test_a_price_that_stripe_lacks_is_named(db: None) -> None:
    for price in client().list_prices():
        client()._post(f"prices/{price['id']}", {"active": False}, "")
    with pytest.raises(StripeRefused, match="pro-v1-monthly") as caught:
        items_for(PRO, Interval.MONTHLY, 0)
    assert caught.value.code == "price_missing"
