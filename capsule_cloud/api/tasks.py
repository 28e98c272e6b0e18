"""Wakes the API's housekeeping on a schedule."""

from typing import Any

from celery import shared_task

from capsule_cloud.api import idempotency


@shared_task(name="api.purge_idempotency_keys")
def purge_idempotency_keys(**kwargs: Any) -> None:
    """Forget the answers of idempotent requests once their day has passed."""
    while idempotency.purge():
        pass
