"""Wakes invoicing's services."""

from typing import Any

from celery import shared_task
from django.utils import timezone

from billing.invoicing import services


@shared_task(name="invoicing.close_due")
def close_due(**kwargs: Any) -> int:
    """Draft the periods that are over and open the drafts whose grace has passed; how many were opened."""
    return services.close_due(now=timezone.now())
