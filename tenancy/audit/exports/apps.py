"""The exports app."""

from django.apps import AppConfig


class ExportsConfig(AppConfig):
    """Exports, the stores that they go to, and their schedules."""

    name = "tenancy.audit.exports"
    label = "audit_exports"
