"""The tenancy app."""

from django.apps import AppConfig
from django.utils.module_loading import import_string


class TenancyConfig(AppConfig):
    """Organizations, projects, members and keys."""

    name = "tenancy"

    def ready(self) -> None:
        """Hear of what people do with their accounts."""
        import_string("tenancy.account_events.follow")()
