"""The single sign-on app."""

from django.apps import AppConfig


class SsoConfig(AppConfig):
    """Domains that organizations have proved to be theirs."""

    name = "tenancy.sso"
    label = "sso"
