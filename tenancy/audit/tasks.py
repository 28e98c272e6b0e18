"""Wakes the trail's services on a schedule."""

from typing import Any

from celery import shared_task

from tenancy.audit import partitions, retention


@shared_task(name="audit.make_partitions")
def make_partitions(**kwargs: Any) -> None:
    """Make the coming months of the trail, and say when some event has none."""
    partitions.make_partitions()


@shared_task(name="audit.expire")
def expire(**kwargs: Any) -> None:
    """Delete events past their retention, then the months that this left empty."""
    try:
        retention.expire_due()
    finally:
        partitions.drop_empty_partitions()
