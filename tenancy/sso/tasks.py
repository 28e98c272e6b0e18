"""Wakes the look-ups of domains and the end of old traces on a schedule."""

from typing import Any

from celery import shared_task

from tenancy.sso.domains import loop
from tenancy.sso.providers import retention


@shared_task(name="sso.check_domains")
def check_domains(**kwargs: Any) -> None:
    """Look up what is due."""
    loop.check_due()


@shared_task(name="sso.forget_sign_ins")
def forget_sign_ins(**kwargs: Any) -> None:
    """Delete traces of sign-ins that are too old."""
    retention.forget_due()
