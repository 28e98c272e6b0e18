"""The streams app."""

from django.apps import AppConfig


class StreamsConfig(AppConfig):
    """Streams, what was sent to them, and events that they refused."""

    name = "tenancy.audit.streams"
    label = "audit_streams"
