"""Wakes billing's services."""

from typing import Any

from celery import shared_task

from billing.services import entitlements


@shared_task(name="billing.recompute_due")
def recompute_due(**kwargs: Any) -> int:
    """End expired overrides and begin new periods; how many organizations that concerned."""
    return entitlements.recompute_due()
