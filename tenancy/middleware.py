"""Gives every request an id, and the audit trail the place that it came from."""

import hashlib
from collections.abc import Callable

import uuid_utils.compat as uuid_utils
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from tenancy.audit.services import Context, context


def client_ip(request: HttpRequest) -> str:
    """The caller's address: the connection's, or behind TRUSTED_PROXY_COUNT proxies the one that they forwarded."""
    if proxies := settings.TRUSTED_PROXY_COUNT:
        forwarded = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
        if len(forwarded) >= proxies:
            return str(forwarded[-proxies])
    return str(request.META.get("REMOTE_ADDR", ""))


def request_context(request: HttpRequest) -> Context:
    """A fresh request id with the caller's address, user agent and, in the console, a name of their session."""
    agent = request.META.get("HTTP_USER_AGENT", "")[:300]
    return Context(uuid_utils.uuid7().hex, client_ip(request), agent, _session_id(request))


def _session_id(request: HttpRequest) -> str:
    """The same for every request of a session, and no help to whoever wants to take it over."""
    session = getattr(request, "session", None)
    return hashlib.sha256(session.session_key.encode()).hexdigest()[:16] if session and session.session_key else ""


class RequestContextMiddleware:
    """Opens the audit context for the console's requests and returns the request id in `X-Request-Id`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request inside its context."""
        origin = request_context(request)
        with context(origin):
            response = self.get_response(request)
        response["X-Request-Id"] = origin.request_id
        return response
