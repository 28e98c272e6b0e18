"""The tenancy app."""

from django.apps import AppConfig


class TenancyConfig(AppConfig):
    """Organizations, projects, members and keys."""

    name = "tenancy"
