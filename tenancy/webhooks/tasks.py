"""Wakes the webhook engine on a schedule."""

from typing import Any

from celery import shared_task

from tenancy.webhooks import delivery


@shared_task(name="webhooks.deliver")
def deliver(**kwargs: Any) -> None:
    """Send what is due."""
    delivery.deliver()


@shared_task(name="webhooks.tidy")
def tidy(**kwargs: Any) -> None:
    """Give up and delete what is too old."""
    delivery.tidy()
