"""The attempts app."""

from django.apps import AppConfig


class AttemptsConfig(AppConfig):
    """Attempts that were refused."""

    name = "tenancy.audit.attempts"
    label = "audit_attempts"
