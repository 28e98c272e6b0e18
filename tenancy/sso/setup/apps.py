"""The app of setup links and begun setups."""

from django.apps import AppConfig


class SetupConfig(AppConfig):
    """Setup links, and providers that are being set up."""

    name = "tenancy.sso.setup"
    label = "sso_setup"
