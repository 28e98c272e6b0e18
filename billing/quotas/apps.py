"""The quotas app."""

from django.apps import AppConfig


class QuotasConfig(AppConfig):
    """Caps, counters, parked writes and notices."""

    name = "billing.quotas"
    label = "quotas"
