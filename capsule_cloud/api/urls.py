"""The API's routes."""

from django.urls import path

from capsule_cloud.api import health

urlpatterns = [
    path("health", health.health, name="health"),
]
