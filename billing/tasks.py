"""Wakes billing's services."""

from typing import Any
from uuid import UUID

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from billing.services import catalogue, dunning, entitlements, unpaid
from billing.stripe_client import client


@shared_task(name="billing.recompute_due")
def recompute_due(**kwargs: Any) -> int:
    """End expired overrides and begin new periods; how many organizations that concerned."""
    return entitlements.recompute_due()


@shared_task(name="billing.sell_plans")
def sell_plans(**kwargs: Any) -> None:
    """Put what the catalogue sells into the simulator; at Stripe itself that is `manage.py plan_catalogue --push`."""
    if settings.STRIPE_SANDBOX:
        catalogue.push(client())


@shared_task(name="billing.advance_dunning")
def advance_dunning(**kwargs: Any) -> None:
    """Bring every organization with an unpaid invoice to where the clock says it stands."""
    dunning.advance_due(now=timezone.now())


@shared_task(name="billing.end_unpaid_subscription")
def end_unpaid_subscription(organization_id: str, **kwargs: Any) -> None:
    """End the subscription that nobody pays for; dunning asks again every hour until it is over."""
    unpaid.end_unpaid_subscription(organization_id=UUID(organization_id))
