"""The sandbox app."""

from importlib import import_module

from django.apps import AppConfig
from django.core import checks

from billing.sandbox import guard


class SandboxConfig(AppConfig):
    """Stripe's objects, events and pages, kept in our own database."""

    name = "billing.sandbox"
    label = "sandbox"

    def ready(self) -> None:
        """Register the operations, which enter themselves into the routing table, and the check."""
        import_module("billing.sandbox.operations")
        checks.register(guard.live_key)
