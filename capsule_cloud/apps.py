"""The wiring app: management commands and boot checks."""

from django.apps import AppConfig
from django.core.checks import Tags, register

from capsule_cloud import checks


class CapsuleCloudConfig(AppConfig):
    """Registers the checks that refuse a wrong boot."""

    name = "capsule_cloud"

    def ready(self) -> None:
        """Register the system checks."""
        register(checks.engine_pin)
        register(checks.application_role, Tags.database)
        register(checks.secrets, Tags.security, deploy=True)
