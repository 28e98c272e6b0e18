"""The wiring app: management commands, boot checks, the Celery application."""

from django.apps import AppConfig
from django.core.checks import Tags, register

from capsule_cloud import celery, checks


class CapsuleCloudConfig(AppConfig):
    """Registers the checks that refuse a wrong boot, and the application that jobs are sent with."""

    name = "capsule_cloud"

    def ready(self) -> None:
        """Register the system checks, and send jobs to our broker from every thread of every process."""
        celery.app.set_default()
        register(checks.engine_pin)
        register(checks.application_role, Tags.database)
        register(checks.secrets, Tags.security)
        register(checks.stripe)
        register(checks.egress)
