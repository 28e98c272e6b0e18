"""The metering app."""

from django.apps import AppConfig


class MeteringConfig(AppConfig):
    """Usage events and their roll-up."""

    name = "billing.metering"
    label = "metering"
