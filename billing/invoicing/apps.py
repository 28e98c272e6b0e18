"""The invoicing app."""

from django.apps import AppConfig


class InvoicingConfig(AppConfig):
    """Contracts, invoices and how each line came about."""

    name = "billing.invoicing"
    label = "invoicing"
