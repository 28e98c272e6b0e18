"""The Django app of the customers' pages."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Brings the templates, the static files and the template tags."""

    name = "capsule_cloud.web"
    label = "web"
