"""The provisioning app."""

from django.apps import AppConfig


class ScimConfig(AppConfig):
    """Directories that provision people and groups by SCIM 2.0."""

    name = "tenancy.scim"
    label = "scim"
