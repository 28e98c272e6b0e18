"""The Celery application; tasks live in each room's tasks.py and are enqueued by name through lib/jobs."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_ready
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "capsule_cloud.settings")

app = Celery("capsule_cloud", task_cls="capsule_cloud.lib.jobs:Task")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(
    [
        "tenancy",
        "tenancy.audit",
        "tenancy.audit.attempts",
        "tenancy.audit.exports",
        "tenancy.audit.sealing",
        "tenancy.audit.streams",
        "tenancy.scim",
        "tenancy.sso",
        "tenancy.webhooks",
        "capsule_cloud.memory",
        "billing",
        "billing.credits",
        "billing.invoicing",
        "billing.metering",
        "billing.quotas",
        "billing.sandbox",
        "capsule_cloud.api",
    ],
)


@worker_ready.connect
def _give_leases_back(**kwargs: Any) -> None:
    """Jobs take leases too; they go back when idle and at the end, as a web server's do (threads, one process)."""
    import_string("billing.quotas.leases.start")()
