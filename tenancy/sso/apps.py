"""The single sign-on app."""

from django.apps import AppConfig


class SsoConfig(AppConfig):
    """Domains that organizations have proved to be theirs, and the identity providers that speak for them."""

    name = "tenancy.sso"
    label = "sso"
