"""Wakes the writing of exports on a schedule."""

from typing import Any

from celery import shared_task

from tenancy.audit.exports import scheduling, tidying, writing


@shared_task(name="audit_exports.write")
def write(**kwargs: Any) -> None:
    """Write, and send, what is due."""
    writing.work()


@shared_task(name="audit_exports.make_scheduled")
def make_scheduled(**kwargs: Any) -> None:
    """Ask for the exports whose time has come."""
    scheduling.make_due()


@shared_task(name="audit_exports.tidy")
def tidy(**kwargs: Any) -> None:
    """Delete the files of what has expired."""
    tidying.tidy()
