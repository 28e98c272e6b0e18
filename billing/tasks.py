"""Wakes billing's services."""

from typing import Any

from celery import shared_task
from django.utils import timezone

from billing.services import dunning, entitlements


@shared_task(name="billing.recompute_due")
def recompute_due(**kwargs: Any) -> int:
    """End expired overrides and begin new periods; how many organizations that concerned."""
    return entitlements.recompute_due()


@shared_task(name="billing.advance_dunning")
def advance_dunning(**kwargs: Any) -> None:
    """Bring every organization with an unpaid invoice to where the clock says it stands."""
    dunning.advance_due(now=timezone.now())
