"""Wakes billing's services."""

from typing import Any
from uuid import UUID

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from billing import stripe_events
from billing.services import catalogue, dunning, entitlements, inbox, meter_pushes, reconciling, seats, trials, unpaid
from billing.stripe_client import client, is_on


@shared_task(name="billing.process_stripe_events")
def process_stripe_events(**kwargs: Any) -> None:
    """Deal with what is in the inbox, until nothing more is due."""
    while stripe_events.process():
        pass


@shared_task(name="billing.find_missed_events")
def find_missed_events(**kwargs: Any) -> None:
    """Ask Stripe for events of the last three days that never came, and forget those of last quarter."""
    if is_on():
        stripe_events.find_missed()
    inbox.forget_old()


@shared_task(name="billing.push_usage")
def push_usage(**kwargs: Any) -> None:
    """Tell Stripe's meters what has been used."""
    meter_pushes.push_all()


@shared_task(name="billing.reconcile_usage")
def reconcile_usage(**kwargs: Any) -> None:
    """Compare events, hours, closed periods and Stripe's meters, and raise the alarm where they differ."""
    reconciling.reconcile()


@shared_task(name="billing.sync_subscription")
def sync_subscription(organization_id: str, **kwargs: Any) -> None:
    """Bring what an organization pays for into step with its people and with what was granted."""
    seats.sync(organization_id=UUID(organization_id))


@shared_task(name="billing.sync_seats")
def sync_seats(**kwargs: Any) -> None:
    """Bring the seats that are paid for into step with the people."""
    seats.sync_all()


@shared_task(name="billing.remind_of_trials")
def remind_of_trials(**kwargs: Any) -> None:
    """Write to everybody whose trial ends soon."""
    trials.remind_due()


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
