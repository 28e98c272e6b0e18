"""The way into SCIM, before the console's middleware: no session, no form, no page of ours in an answer."""

import logging
from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve

from tenancy.audit.services import context
from tenancy.middleware import request_context
from tenancy.scim.authentication import refusal

BASE = "/scim/"
log = logging.getLogger("scim")


class ScimDoor:
    """Takes what begins with `/scim/`; everything else goes on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a directory, or pass the request on."""
        if not request.path_info.startswith(BASE):
            return self.get_response(request)
        origin = request_context(request)
        with context(origin):
            try:
                found = resolve(request.path_info)
                response: HttpResponse = found.func(request, *found.args, **found.kwargs)
            except Resolver404:
                response = refusal(HTTPStatus.NOT_FOUND, "There is no SCIM here: the base address ends with /scim/v2.")
            except Exception:
                log.exception("scim.failed request_id=%s", origin.request_id)
                words = f"Something went wrong here; the request's id is {origin.request_id}."
                response = refusal(HTTPStatus.INTERNAL_SERVER_ERROR, words)
        response["X-Request-Id"] = origin.request_id
        response["X-Content-Type-Options"] = "nosniff"
        response["Cache-Control"] = "no-store"
        if settings.SECURE_HSTS_SECONDS:
            response["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains"
        response._has_been_logged = True  # type: ignore[attr-defined]  # Django would log every 4xx as a warning
        return response
