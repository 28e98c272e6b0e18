"""The API app."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The public API."""

    name = "capsule_cloud.api"
    label = "api"
