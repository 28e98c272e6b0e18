"""Wakes the end of what directories sent long ago on a schedule."""

from typing import Any

from celery import shared_task

from tenancy.scim import exchanges


@shared_task(name="scim.forget_exchanges")
def forget_exchanges(**kwargs: Any) -> None:
    """Delete exchanges that are too old."""
    exchanges.forget_due()
