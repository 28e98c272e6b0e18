"""The search app."""

from django.apps import AppConfig


class SearchConfig(AppConfig):
    """Indexes of the trail, and saved views."""

    name = "tenancy.audit.search"
    label = "audit_search"
