"""The WSGI entry point: `granian --interface wsgi capsule_cloud.wsgi:application`."""

import os
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils.module_loading import import_string

from capsule_cloud import checks


class Utf8Request(WSGIRequest):
    """A request whose text is UTF-8, whatever charset its client names.

    Django takes any of Python's codecs for a charset, `rot13` too, and fails before its first handler.
    """

    @property
    def encoding(self) -> str:
        """Always UTF-8."""
        return "utf-8"

    @encoding.setter
    def encoding(self, value: str) -> None:
        pass


class Application(WSGIHandler):
    """Django's handler, and beside it a shorter way to the API's door: a fifth of a hot request (docs/performance.md).

    The way leaves out the other middleware, as the door does, and Django's signals. Of what listens to these the API
    needs one thing: that a broken database connection is replaced.
    """

    request_class = Utf8Request

    def load_middleware(self, is_async: bool = False) -> None:
        """As Django's; the door too can be imported only now, when the applications are ready."""
        super().load_middleware(is_async)
        self._surface_of = import_string("capsule_cloud.api.errors.surface_of")
        self._door = import_string("capsule_cloud.api.door.ApiDoor")(self.get_response)
        self._register = import_string("billing.metering.services.watermark.register")
        self._is_registered = False
        if settings.IS_PRODUCTION:  # whoever leaves is out within a second, whichever process hears of it
            import_string("tenancy.scim.views.load")()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Answer one request, with what WSGI takes: chunks of the body."""
        surface = self._surface_of(environ.get("PATH_INFO", ""))
        if surface is None:
            return super().__call__(environ, start_response)
        connections[DEFAULT_DB_ALIAS].close_if_unusable_or_obsolete()
        if not self._is_registered:
            self._is_registered = True
            self._register()  # before anything is spooled; not at the import, which asks no database
        request = Utf8Request(environ)
        response, headers = self._door.answer(request, surface)
        request.close()
        start_response(f"{response.status_code} {response.reason_phrase}", [*response.items(), *headers])
        return response if response.streaming else [response.content]


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "capsule_cloud.settings")
django.setup(set_prefix=False)
application = Application()
import_string("billing.quotas.leases.start")()
import_string("tenancy.audit.attempts.services.start")()
checks.refuse_wrong_boot()
