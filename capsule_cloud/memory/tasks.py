"""Wakes the memory's services on a schedule."""

from typing import Any

from celery import shared_task

from capsule_cloud.memory.services import retention


@shared_task(name="memory.seal_idle_sessions")
def seal_idle_sessions(**kwargs: Any) -> None:
    """Seal the sessions of every organization that have been idle for their project's time."""
    while retention.close_due_sessions():
        pass


@shared_task(name="memory.purge_expired")
def purge_expired(**kwargs: Any) -> None:
    """Delete raw turns past their project's retention, of every organization."""
    while retention.purge_due_turns():
        pass
