"""The webhooks app."""

from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    """Endpoints, events and their deliveries."""

    name = "tenancy.webhooks"
    label = "webhooks"
