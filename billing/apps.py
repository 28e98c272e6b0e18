"""The billing app."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Plans, entitlements, and what Stripe knows about our customers."""

    name = "billing"
    label = "billing"
