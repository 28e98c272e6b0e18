"""Wakes invoicing's services."""

from typing import Any

from celery import shared_task
from django.utils import timezone

from billing.invoicing import services
from billing.stripe_client import is_on


@shared_task(name="invoicing.close_due")
def close_due(**kwargs: Any) -> int:
    """Draft the periods that are over and open the drafts whose grace has passed; how many were opened."""
    return services.close_due(now=timezone.now())


@shared_task(name="invoicing.begin_contracts")
def begin_contracts(**kwargs: Any) -> int:
    """Let contracts hold whose start has come; how many began."""
    return services.begin_due(now=timezone.now())


@shared_task(name="invoicing.compare_with_stripe")
def compare_with_stripe(**kwargs: Any) -> int:
    """Compare our invoices with Stripe's, and let Stripe bill what came late; how many differ."""
    return services.compare_due() if is_on() else 0
