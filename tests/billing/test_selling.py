"""Without a Stripe key the plans are for sale all the same."""

import pytest
from django.test import override_settings

from billing.services import catalogue
from billing.stripe_client import StripeRefused, client
from billing.tasks import sell_plans


@pytest.mark.django_db
def test_the_simulator_sells_what_the_catalogue_says() -> None:
    sell_plans()
    assert catalogue.differences(client()) == []


@override_settings(STRIPE_SANDBOX=False)
def test_at_stripe_itself_nothing_is_sold_by_the_clock() -> None:
    sell_plans()
    with pytest.raises(StripeRefused):
        client()
