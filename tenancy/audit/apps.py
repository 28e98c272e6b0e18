"""The audit app."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """The audit trail."""

    name = "tenancy.audit"
    label = "audit"
