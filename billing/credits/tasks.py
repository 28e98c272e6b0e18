"""Wakes the credits services."""

from typing import Any

from celery import shared_task
from django.utils import timezone

from billing.credits.services import expire_due


@shared_task(name="credits.expire_credits")
def expire_credits(**kwargs: Any) -> None:
    """Expire what remains of grants whose end has passed, of every organization."""
    expire_due(now=timezone.now())
