"""The credits app."""

from django.apps import AppConfig


class CreditsConfig(AppConfig):
    """The ledger, grants and top-ups."""

    name = "billing.credits"
    label = "credits"
