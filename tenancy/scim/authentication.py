"""Lets directories in by their tokens: django-scim2's hook, and the SCIM errors of those who stay outside."""

from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django_scim.constants import SCIM_CONTENT_TYPE, SchemaURI
from django_scim.middleware import SCIMAuthCheckMiddleware

from tenancy.scim import limits, refusals
from tenancy.scim.directories.tokens import DirectoryPrincipal, InvalidToken, authenticate

PUBLIC = "/ServiceProviderConfig"  # RFC 7643, section 5: how to authenticate is told to everybody
CHALLENGE = 'Bearer realm="SCIM"'


class DirectoryAuthentication(SCIMAuthCheckMiddleware):  # type: ignore[misc]  # the package has no types
    """Finds the directory of a request; nothing of a request is logged."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """None where the request may go on."""
        if settings.IS_HTTPS and not request.is_secure():
            return refusal(
                HTTPStatus.FORBIDDEN, "Use https: this token went over the network in the clear. Replace it."
            )
        authorization = request.META.get("HTTP_AUTHORIZATION", "")
        if not authorization and request.path_info.rstrip("/").endswith(PUBLIC):
            return None
        try:
            principal = authenticate(authorization)
        except InvalidToken:
            return unauthenticated()
        if seconds := limits.wait_for(principal.token_id):
            words = f"More than {settings.SCIM_REQUESTS_PER_MINUTE:,} requests this minute: try again in {seconds} s."
            status = HTTPStatus.TOO_MANY_REQUESTS
            refusals.tell(principal, method=str(request.method), path="", status=status)
            return refusal(status, words, {"Retry-After": str(seconds)})
        request.directory = principal  # type: ignore[attr-defined]  # read by `principal_of` alone
        return None

    def process_response(self, _: HttpRequest, response: HttpResponse) -> HttpResponse:
        """The answer as it is."""
        return response


def principal_of(request: HttpRequest) -> DirectoryPrincipal | None:
    """The directory that asks; None where somebody asks what everybody may."""
    return getattr(request, "directory", None)


def unauthenticated() -> HttpResponse:
    """The answer to whoever has no token that is good."""
    words = "The bearer token is missing, unknown, expired or revoked: copy a new one from the directory's page."
    return refusal(HTTPStatus.UNAUTHORIZED, words, {"WWW-Authenticate": CHALLENGE})


def refusal(status: HTTPStatus, detail: str, headers: dict[str, Any] | None = None) -> HttpResponse:
    """A SCIM error (RFC 7644, section 3.12)."""
    body = {"schemas": [SchemaURI.ERROR], "status": str(status.value), "detail": detail}
    return HttpResponse(orjson.dumps(body), status=status, content_type=SCIM_CONTENT_TYPE, headers=headers)
