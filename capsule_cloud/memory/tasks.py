"""Wakes the memory's services on a schedule."""

from typing import Any

from celery import shared_task

from capsule_cloud.memory.services import capsules, retention


@shared_task(name="memory.purge_expired")
def purge_expired(**kwargs: Any) -> None:
    """Delete capsules whose end has passed, and raw turns past their project's retention, of every organization."""
    while capsules.purge_expired():
        pass
    while retention.purge_due_turns():
        pass
