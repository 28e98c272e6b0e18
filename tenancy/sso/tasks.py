"""Wakes the look-ups of domains on a schedule."""

from typing import Any

from celery import shared_task

from tenancy.sso.domains import loop


@shared_task(name="sso.check_domains")
def check_domains(**kwargs: Any) -> None:
    """Look up what is due."""
    loop.check_due()
