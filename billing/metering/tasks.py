"""Wakes the metering services on a schedule."""

from typing import Any

from celery import shared_task

from billing.metering import services


@shared_task(name="metering.ship_usage")
def ship_usage(**kwargs: Any) -> None:
    """Store spooled usage and add it to the hourly sums."""
    services.ship()
    services.roll_up()
