"""Owns the door to Celery: enqueue by name, after commit, with the organization that the task will open a scope for."""

import logging
from typing import Any
from uuid import UUID

from celery import Task as CeleryTask
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = logging.getLogger("jobs")


class Task(CeleryTask):  # type: ignore[type-arg]  # generic in its types alone, not at run time
    """Base of every task: late acknowledgement, so that a killed worker's task runs again."""

    acks_late = True
    reject_on_worker_lost = True
    ignore_result = True


def enqueue(name: str, *, organization_id: UUID | None = None, **kwargs: Any) -> None:
    """Queue the task `name` once the surrounding transaction has committed (at once outside one).

    `organization_id` travels as text; values must be JSON. A broker that is away is logged, not raised: what must not
    be lost is swept by the task's own periodic loop.
    """
    if organization_id is not None:
        kwargs["organization_id"] = str(organization_id)

    def send() -> None:
        try:
            current_app.send_task(name, kwargs=kwargs)
        except OperationalError:
            log.warning("jobs.enqueue_failed task=%s", name)

    transaction.on_commit(send)
