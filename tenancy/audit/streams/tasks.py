"""Wakes the streams' engine on a schedule."""

from typing import Any

from celery import shared_task

from tenancy.audit.streams import engine


@shared_task(name="audit_streams.deliver")
def deliver(**kwargs: Any) -> None:
    """Send what is sealed and not sent yet."""
    engine.deliver()


@shared_task(name="audit_streams.tidy")
def tidy(**kwargs: Any) -> None:
    """End the logs' oldest rows."""
    engine.tidy()
