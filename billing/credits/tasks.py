"""Wakes the credits services."""

from typing import Any

from celery import shared_task
from django.utils import timezone

from billing.credits import cashier
from billing.credits.services import deductions, expire_due, top_ups


@shared_task(name="credits.expire_credits")
def expire_credits(**kwargs: Any) -> None:
    """Expire what remains of grants whose end has passed, of every organization."""
    expire_due(now=timezone.now())


@shared_task(name="credits.pay_top_up")
def pay_top_up(organization_id: str, top_up_id: str, **kwargs: Any) -> None:
    """Pay one top-up as soon as it is wanted."""
    top_ups.pay(organization_id=organization_id, top_up_id=top_up_id, cashier=cashier.charge, now=timezone.now())


@shared_task(name="credits.pay_due_top_ups")
def pay_due_top_ups(**kwargs: Any) -> None:
    """Pay top-ups of every organization whose own task was lost, or that had to wait for Stripe."""
    top_ups.pay_due(cashier=cashier.charge, now=timezone.now())


@shared_task(name="credits.deduct")
def deduct(organization_id: str, credit_id: str, **kwargs: Any) -> None:
    """Put burned credits onto the draft that they pay for."""
    deductions.deduct(organization_id=organization_id, credit_id=credit_id, deductor=cashier.deduct, now=timezone.now())


@shared_task(name="credits.deduct_due")
def deduct_due(**kwargs: Any) -> None:
    """Put onto their drafts the credits whose own task was lost, or that had to wait for Stripe."""
    deductions.deduct_due(deductor=cashier.deduct, now=timezone.now())
