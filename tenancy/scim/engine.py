"""Serves one request of a directory: all of it in one transaction of its organization, and kept in the log."""

import time
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from scim2_models import PayloadTooLargeException
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse

from tenancy.scim import exchanges, provisioning, refusals
from tenancy.scim.authentication import principal_of
from tenancy.scim.directories.tokens import DirectoryPrincipal
from tenancy.scim.protocol import Handler, Service
from tenancy.scim.resources import MOST_BYTES, PROVIDER
from tenancy.scim.storage import DirectoryStorage
from tenancy.scope import scope

SERVICE = Service(PROVIDER, secret=settings.SECRET_KEY)
HEADERS = ("Content-Type", "If-Match", "If-None-Match")


def serve(request: HttpRequest, path: str) -> HttpResponse:
    """The answer to a request for a path below the base address."""
    principal = principal_of(request)
    headers = {name: value for name in HEADERS if (value := request.headers.get(name)) is not None}
    asked = ScimRequest(
        str(request.method), f"{settings.PUBLIC_URL}/scim/v2", path, request.GET.dict(), headers, subject=principal
    )
    if principal is None:
        return _sent(_public(asked))
    started = time.monotonic()
    storage: DirectoryStorage | None = None
    said: Any = None
    try:
        asked.body = _body(request)
        said = _read(asked.body)
        with scope(principal.organization_id):
            storage = DirectoryStorage(principal)
            answer = Handler(SERVICE, storage).handle(asked)
            storage.finish()
            _keep(request, principal, asked, said, answer, started)
        if _kind(asked) != "Group":
            refusals.tell_rights(principal, method=asked.method, said=said)
    except Exception as failure:  # noqa: BLE001  # the boundary: whatever happened becomes an answer
        answer = SERVICE.error_response(failure)
        _keep(request, principal, asked, said, answer, started)
        code = str((answer.body or {}).get("scimType") or "")
        refusals.tell(principal, method=asked.method, path=path, status=answer.status, code=code)
    for refused in storage.refused if storage else ():
        provisioning.refused(principal, refused)
    return _sent(answer)


def _public(asked: ScimRequest) -> ScimResponse:
    """What everybody may ask for: how directories authenticate."""
    try:
        SERVICE.match(asked)  # refuses every other method
        return SERVICE.service_provider_config(asked.url, asked.query)
    except Exception as failure:  # noqa: BLE001  # as above
        return SERVICE.error_response(failure)


def _body(request: HttpRequest) -> bytes:
    """The body, of which no more is read than anybody needs. Raises PayloadTooLargeException."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    body = b"" if length.isdigit() and int(length) > MOST_BYTES else request.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES or (length.isdigit() and int(length) > MOST_BYTES):
        raise PayloadTooLargeException(detail=f"A request has at most {MOST_BYTES:,} bytes: send it in parts.")
    return body


def _keep(
    request: HttpRequest,
    principal: DirectoryPrincipal,
    asked: ScimRequest,
    said: Any,
    answer: ScimResponse,
    started: float,
) -> None:
    body: dict[str, Any] = answer.body or {}
    parts, kind = asked.path.strip("/").split("/"), _kind(asked)
    exchanges.record(
        principal=principal,
        method=asked.method,
        path=request.get_full_path(),
        status=answer.status,
        scim_type=str(body.get("scimType") or ""),
        request=said,
        answer=body or None,
        resource_type=kind,
        resource_id=str(body.get("id") or (parts[1] if kind and len(parts) > 1 else "")),
        took_ms=int((time.monotonic() - started) * 1000),
    )


def _kind(asked: ScimRequest) -> str:
    return {"Users": "User", "Groups": "Group"}.get(asked.path.strip("/").partition("/")[0], "")


def _read(body: bytes) -> Any:
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:1_000].decode(errors="replace")


def _sent(answer: ScimResponse) -> HttpResponse:
    content = b"" if answer.body is None else orjson.dumps(answer.body, default=str)
    response = HttpResponse(content, status=answer.status, headers=answer.headers)
    if answer.body is None:
        del response["Content-Type"]
    return response
