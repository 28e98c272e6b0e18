"""Wakes the quotas' sweeps on a schedule."""

from typing import Any

from celery import shared_task

from billing.quotas import counters, parking


@shared_task(name="quotas.apply_parked_writes")
def apply_parked_writes(**kwargs: Any) -> None:
    """Apply writes that wait, where the cap has lifted."""
    parking.apply_due()


@shared_task(name="quotas.settle_counters")
def settle_counters(**kwargs: Any) -> None:
    """Make counters true to the usage events, and delete old ones."""
    counters.settle()
    counters.tidy()
