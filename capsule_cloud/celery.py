"""The Celery application; tasks live in each room's tasks.py and are enqueued by name through lib/jobs."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "capsule_cloud.settings")

app = Celery("capsule_cloud", task_cls="capsule_cloud.lib.jobs:Task")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(
    [
        "tenancy",
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
