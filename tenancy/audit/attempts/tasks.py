"""Wakes the summing up on a schedule."""

from typing import Any

from celery import shared_task

from tenancy.audit.attempts import services


@shared_task(name="audit.sum_up_attempts")
def sum_up_attempts(**kwargs: Any) -> None:
    """Tell the attempts of hours that are over."""
    services.sum_up()
