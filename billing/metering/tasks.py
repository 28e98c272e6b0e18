"""Wakes the metering services on a schedule."""

from typing import Any

from celery import shared_task

from billing.metering import services
from billing.metering.services import gauges, partitions, reports


@shared_task(name="metering.ship_usage")
def ship_usage(**kwargs: Any) -> None:
    """Store spooled usage and add it to the hourly sums."""
    services.ship()
    services.roll_up()


@shared_task(name="metering.make_usage_partitions")
def make_usage_partitions(**kwargs: Any) -> None:
    """Make the coming months of usage events, and say when some event has none."""
    partitions.make_partitions()


@shared_task(name="metering.sample_gauges")
def sample_gauges(**kwargs: Any) -> None:
    """Sample the day that is over, once."""
    gauges.sample_gauges()


@shared_task(name="metering.forget_reported_events")
def forget_reported_events(**kwargs: Any) -> None:
    """Forget the names of reported events once their 90 days have passed."""
    while reports.forget_old():
        pass
