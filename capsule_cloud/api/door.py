"""The one way into the API, before other middleware: request id, CORS, keys, limits, the shape of errors.

It serves every path under a prefix of `errors.SURFACES` from `api/urls.py`; a new protocol adds a row and a URL.
"""

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve

from capsule_cloud.api import cors, idempotency, receipts, refusals
from capsule_cloud.api.auth import admit
from capsule_cloud.api.errors import ApiError, Surface, answer, surface_of, translate
from capsule_cloud.api.limits import allowance_of, count
from capsule_cloud.api.urls import shortcut
from tenancy.access import KeyPrincipal, authenticate_key
from tenancy.audit.services import Context, context
from tenancy.middleware import request_context

URLCONF = "capsule_cloud.api.urls"
NO_SNIFF, NO_STORE = ("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")
MAX_BODY_BYTES = 12 * 2**20  # an import of 10 MiB and the form around it
log = logging.getLogger("api")


class ApiDoor:
    """Takes the API's paths; everything else goes on to the console."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer an API request, or pass a console request on."""
        surface = surface_of(request.path_info)
        if surface is None:
            return self.get_response(request)
        response, headers = self.answer(request, surface)
        for name, value in headers:
            response.headers[name] = value
        return response

    def answer(self, request: HttpRequest, surface: Surface) -> tuple[HttpResponse, list[tuple[str, str]]]:
        """The answer to an API request, and the headers that it goes out with beside its own.

        They are the door's own words, in ASCII: Django's mapping of headers would check each of a dozen twice.
        """
        origin = request_context(request)
        visit = Visit(request, surface, origin.ip)
        with context(origin):
            try:
                response = visit.serve()
            except Exception as error:  # noqa: BLE001  # the boundary: whatever happened becomes an answer
                refusal = _refusal(error, origin)
                response = answer(refusal, surface, origin.request_id)
                refusals.tell(request, error, refusal, visit.principal)
        headers = [*cors.headers(request), *receipts.headers(request), ("X-Request-Id", origin.request_id), NO_SNIFF]
        response.headers.pop("Vary")
        if allowance := allowance_of(request):
            headers += allowance.headers()
        if settings.SECURE_HSTS_SECONDS:
            value = f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains"
            headers.append(("Strict-Transport-Security", value))
        if "Cache-Control" not in response.headers:
            headers.append(NO_STORE)
        response._has_been_logged = True  # type: ignore[attr-defined]  # Django would log every 4xx as a warning
        return response, headers


class Visit:
    """One request on its way through the door."""

    def __init__(self, request: HttpRequest, surface: Surface, ip: str) -> None:
        self.request = request
        self.surface = surface
        self.ip = ip
        self.principal: KeyPrincipal | None = None  # once it is known whose key it is

    def serve(self) -> HttpResponse:
        """The view's answer. Raises ApiError, an expected failure of the rooms below, or whatever went wrong."""
        request = self.request
        if cors.is_preflight(request):
            return cors.preflight()
        _check_address(request)
        try:
            view, kwargs = _view_of(request.path_info)
        except Resolver404:
            self._let_in()  # only callers are told which paths there are, and their attempts count
            raise ApiError("not_found", "Not Found") from None
        if getattr(view, "is_public", False):
            return self._rendered(view(request, **kwargs))
        principal = self._let_in()
        _check_body_size(request)

        def perform() -> HttpResponse:
            return self._rendered(view(request, **kwargs))

        is_post = request.method == "POST" and self.surface.has_idempotency_keys
        if is_post and idempotency.META_NAME in request.META:
            calls_out = getattr(getattr(view, "cls", None), "calls_out", False)
            once = idempotency.once_outside if calls_out else idempotency.once
            return once(request, principal, perform)
        return perform()

    def _let_in(self) -> KeyPrincipal:
        request = self.request
        if settings.IS_HTTPS and not request.is_secure():
            raise ApiError("https_required")  # and no redirect: the key has been sent in the clear
        principal = self.principal = authenticate_key(request.META.get("HTTP_AUTHORIZATION", ""), self.ip)
        count(request, principal)
        cors.enforce(request, principal.cors_origins)
        admit(request, principal)
        return principal

    @staticmethod
    def _rendered(response: HttpResponse) -> HttpResponse:
        render = getattr(response, "render", None)  # DRF's answers wait for Django's handler, which is not here
        return response if render is None else render()


def _view_of(path: str) -> tuple[Callable[..., HttpResponse], dict[str, Any]]:
    if found := shortcut.find(path):
        return found
    match = resolve(path, URLCONF)
    return match.func, match.kwargs


def _check_address(request: HttpRequest) -> None:
    """Refuse a query that is no UTF-8: Django would replace the bytes, and two end users' names could become one.

    In a path Django leaves such bytes percent-encoded, so that they name nothing.
    """
    query = request.META.get("QUERY_STRING", "")
    try:
        if "%" in query or not query.isascii():
            unquote_to_bytes(query.encode("latin-1")).decode()
    except UnicodeError:
        raise ApiError("bad_request", "The address is not UTF-8.") from None


def _check_body_size(request: HttpRequest) -> None:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise ApiError("too_large", f"A request has at most {MAX_BODY_BYTES} bytes.")


def _refusal(error: Exception, origin: Context) -> ApiError:
    known = translate(error)
    if known is not None:
        return known
    log.error("api.failed request_id=%s", origin.request_id, exc_info=error)
    return ApiError("internal", f"Internal error; its request id is {origin.request_id}.")
