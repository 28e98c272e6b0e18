"""The sealing app."""

from django.apps import AppConfig


class SealingConfig(AppConfig):
    """Leaves, trees, checkpoints, keys."""

    name = "tenancy.audit.sealing"
    label = "audit_sealing"
