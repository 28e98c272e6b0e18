"""Wakes tenancy services on a schedule."""

from typing import Any

from celery import shared_task

from tenancy.services import organizations


@shared_task(name="tenancy.purge_closed_organizations")
def purge_closed_organizations(**kwargs: Any) -> None:
    """Delete the data of organizations whose grace has passed; the next run goes on where this one stops."""
    organizations.purge_due()
