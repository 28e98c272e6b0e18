"""Wakes the memory's services on a schedule."""

from typing import Any

from celery import shared_task

from capsule_cloud.memory.services import capsules, retention, search_entries

BATCHES = 50  # of a run, which must end within minutes; the next comes soon


@shared_task(name="memory.purge_expired")
def purge_expired(**kwargs: Any) -> None:
    """Delete capsules whose end has passed, and raw turns past their project's retention, of every organization."""
    while capsules.purge_expired():
        pass
    while retention.purge_due_turns():
        pass


@shared_task(name="memory.renew_search_entries")
def renew_search_entries(**kwargs: Any) -> None:
    """Make anew search entries of every organization that an earlier release made otherwise."""
    for _ in range(BATCHES):
        if not search_entries.renew():
            break
