"""The WSGI entry point: `granian --interface wsgi capsule_cloud.wsgi:application`."""

import os

from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application

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


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "capsule_cloud.settings")

application = get_wsgi_application()
application.request_class = Utf8Request
checks.refuse_wrong_boot()
