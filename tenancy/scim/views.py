"""The view behind every address of SCIM: django-scim2's, which lets directories in, in front of our engine.

The engine is loaded by the first request, and when a production server starts: with scim2-models it takes half a second
and 11 MiB, in every process that knows our addresses.
"""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string
from django_scim.views import SCIMView

Serve = Callable[[HttpRequest, str], HttpResponse]


def load() -> Serve:
    """The engine, which is loaded once."""
    engine: Serve = import_string("tenancy.scim.engine.serve")
    return engine


class DirectoryView(SCIMView):  # type: ignore[misc]  # the package has no types
    """Whatever the method: the engine knows which an address has."""

    def serve(self, request: HttpRequest, path: str = "") -> HttpResponse:
        """The engine's answer."""
        return load()(request, f"/{path}")

    def http_method_not_allowed(self, request: HttpRequest, *_: Any, **kwargs: Any) -> HttpResponse:
        """The engine's answer to a method that it may have, or not."""
        return self.serve(request, **kwargs)

    get = post = put = patch = delete = head = options = trace = serve
