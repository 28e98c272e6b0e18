"""Completes the OpenAPI document: drf-spectacular writes the control plane, the plain routes describe themselves."""

from typing import Any


def add_plain_routes(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook."""
    return result
