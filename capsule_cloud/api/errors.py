"""Every refusal that the API speaks: one catalogue of codes, three shapes (the engine's, RFC 9457's, JSON-RPC's)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework.exceptions import APIException, MethodNotAllowed, ValidationError
from rest_framework.response import Response

from billing.quotas.services import QuotaReached
from billing.stripe_client import StripeRefused, StripeUnavailable
from capsule_cloud.memory.limits import InvalidInput, TooLarge
from capsule_cloud.memory.selectors.capsules import CapsuleNotFound
from capsule_cloud.memory.selectors.sessions import SessionNotFound
from capsule_cloud.memory.services.sessions import SessionBelongsToAnother, SessionFull, SessionSealed
from capsule_cloud.memory.services.triggers import TriggerNotFound
from tenancy.access import ForbiddenAddress, InvalidKey
from tenancy.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound, TenancyError
from tenancy.sso.domains.services import TooSoon

# code -> (status, what it means and what helps). docs/api/errors.md is this table, and a test compares the two.
CODES: dict[str, tuple[HTTPStatus, str]] = {
    "bad_request": (HTTPStatus.BAD_REQUEST, "The request cannot be read: `detail` says where it is broken."),
    "invalid_cursor": (HTTPStatus.BAD_REQUEST, "`cursor` is not one of ours: start again without it."),
    "invalid_idempotency_key": (
        HTTPStatus.BAD_REQUEST,
        "`Idempotency-Key` must be 1 to 255 printable ASCII characters.",
    ),
    "unauthenticated": (HTTPStatus.UNAUTHORIZED, "The API key is missing, malformed, unknown, expired or revoked."),
    "billing_restricted": (
        HTTPStatus.PAYMENT_REQUIRED,
        "An invoice is overdue: `detail` says what goes on. Pay it, and everything does.",
    ),
    "quota_reached": (
        HTTPStatus.PAYMENT_REQUIRED,
        "A cap is reached, and nothing was written: `detail` says which, until when, and what to do.",
    ),
    "parking_full": (
        HTTPStatus.PAYMENT_REQUIRED,
        "A cap is reached, and as many writes wait for it to lift as may: this one was not kept. Raise the cap.",
    ),
    "payment_refused": (
        HTTPStatus.PAYMENT_REQUIRED,
        "The payment was refused, and nothing was changed: `detail` says why. Try another card.",
    ),
    "forbidden": (HTTPStatus.FORBIDDEN, "The key may see this but not do that."),
    "missing_scope": (HTTPStatus.FORBIDDEN, "The key lacks the scope that `detail` names: make a key that has it."),
    "https_required": (HTTPStatus.FORBIDDEN, "Use https: the key was sent in the clear, so rotate it."),
    "address_not_allowed": (HTTPStatus.FORBIDDEN, "The key may not be used from this network address."),
    "origin_not_allowed": (HTTPStatus.FORBIDDEN, "The web page's origin is not among the project's `cors_origins`."),
    "limit_reached": (HTTPStatus.FORBIDDEN, "The organization's plan allows no more of these."),
    "feature_not_in_plan": (HTTPStatus.FORBIDDEN, "The organization's plan does not have this: change the plan."),
    "not_found": (HTTPStatus.NOT_FOUND, "It does not exist, or it belongs to somebody else: nobody is told which."),
    "method_not_allowed": (HTTPStatus.METHOD_NOT_ALLOWED, "The route exists, but not for this method; see `Allow`."),
    "not_acceptable": (HTTPStatus.NOT_ACCEPTABLE, "Answers are JSON: accept `application/json`."),
    "conflict": (HTTPStatus.CONFLICT, "The state of things does not allow it: `detail` says what to do first."),
    "last_owner": (HTTPStatus.CONFLICT, "The organization would be left without an owner."),
    "request_in_flight": (
        HTTPStatus.CONFLICT,
        "A request with this `Idempotency-Key` is still at work: try again soon.",
    ),
    "too_large": (
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The body, the file or the turn is larger than the stated limit.",
    ),
    "unsupported_media_type": (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Bodies are JSON: send `application/json`."),
    "invalid": (HTTPStatus.UNPROCESSABLE_ENTITY, "A value is wrong; `errors` names each field."),
    "idempotency_key_reused": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "This `Idempotency-Key` was used for another request: use a new one for each.",
    ),
    "rate_limited": (HTTPStatus.TOO_MANY_REQUESTS, "Too many requests this minute: wait `Retry-After` seconds."),
    "payment_unavailable": (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The payment service cannot be reached: nothing is lost, try again after `Retry-After` seconds.",
    ),
    "internal": (HTTPStatus.INTERNAL_SERVER_ERROR, "Our fault. Tell us the `X-Request-Id`."),
}


class ApiError(Exception):
    """A refusal on its way to the caller, raised anywhere behind the door.

    `detail` is a sentence, or FastAPI's list of `{type, loc, msg, input}` on the engine's routes; `errors` are
    `{field, message}` for problem+json; `status` overrides the code's own where the engine answers differently.
    """

    def __init__(
        self,
        code: str,
        detail: str | list[dict[str, Any]] = "",
        *,
        errors: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
    ) -> None:
        default_status, meaning = CODES[code]
        super().__init__(code)
        self.code = code
        self.status = status or int(default_status)
        self.detail = detail or meaning
        self.errors = errors
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Surface:
    """The routes under a path prefix and the shape of their errors. A new protocol adds a row to SURFACES."""

    prefix: str
    shape: Callable[[ApiError, str], tuple[dict[str, Any], str]]  # (error, request id) -> (body, content type)
    has_idempotency_keys: bool = False  # its views raise every refusal, so that one undoes what came before


def engine_shape(error: ApiError, request_id: str) -> tuple[dict[str, Any], str]:
    """As the engine's FastAPI server answers: `{"detail": …}` and nothing else."""
    return {"detail": error.detail}, "application/json"


def problem_shape(error: ApiError, request_id: str) -> tuple[dict[str, Any], str]:
    """Problem details for HTTP APIs (RFC 9457) with a stable `code`."""
    detail = error.detail if isinstance(error.detail, str) else "; ".join(str(item["msg"]) for item in error.detail)
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": detail,
        "code": error.code,
        "request_id": request_id,
    }
    if error.errors:
        body["errors"] = error.errors
    return body, "application/problem+json"


def json_rpc_shape(error: ApiError, request_id: str) -> tuple[dict[str, Any], str]:
    """A JSON-RPC 2.0 error without an id: the request was refused before its id was read."""
    rpc_code = -32603 if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else -32600
    data = {"code": error.code, "status": error.status, "request_id": request_id}
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": rpc_code, "message": str(error.detail), "data": data}}
    return body, "application/json"


SURFACES = (
    Surface("/api/v1", engine_shape, has_idempotency_keys=True),
    Surface("/v1", problem_shape, has_idempotency_keys=True),
    Surface("/mcp", json_rpc_shape),
    Surface("/health", engine_shape),
)


def surface_of(path: str) -> Surface | None:
    """The surface that answers for a path, or None: the path is the console's."""
    for surface in SURFACES:
        if path.startswith(surface.prefix) and path[len(surface.prefix) : len(surface.prefix) + 1] in {"", "/"}:
            return surface
    return None


def answer(error: ApiError, surface: Surface, request_id: str) -> HttpResponse:
    """The error in its surface's shape."""
    body, content_type = surface.shape(error, request_id)
    headers = {"X-Error-Code": error.code, **error.headers}  # the engine's shape has no room for it
    return HttpResponse(orjson.dumps(body), status=error.status, content_type=content_type, headers=headers)


def translate(error: Exception) -> ApiError | None:
    """What an expected failure of the rooms below means to a caller; None for an unexpected one."""
    if isinstance(error, ApiError):
        return error
    for kind in type(error).__mro__:
        if meaning := _MEANINGS.get(kind):
            return meaning(error)
    return None


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook: leave every error to the door, which knows the shape and the request id."""
    if isinstance(error, MethodNotAllowed):
        headers = {"Allow": ", ".join(context["view"].allowed_methods)}
        raise ApiError("method_not_allowed", str(error.detail), headers=headers)
    raise error


def _says(code: str) -> Callable[[Any], ApiError]:
    """The refusal with the sentence that the exception brings."""
    return lambda error: ApiError(code, str(error))


_TENANCY_CODES: dict[type[TenancyError], str] = {
    NotFound: "not_found",
    LimitReached: "limit_reached",
    Conflict: "conflict",
    Forbidden: "forbidden",
}


def _refusal_of_tenancy(error: TenancyError) -> ApiError:
    code = next((code for kind, code in _TENANCY_CODES.items() if isinstance(error, kind)), "bad_request")
    return ApiError(error.code if error.code in CODES else code, str(error))


def _refusal_of_field(error: Invalid) -> ApiError:
    return ApiError("invalid", str(error), errors=[{"field": error.field, "message": str(error)}])


def _refusal_of_drf(error: APIException) -> ApiError:
    code = next((code for code, (status, _) in CODES.items() if int(status) == error.status_code), "bad_request")
    return ApiError(code, str(error.detail))


def _refusal_of_serializer(error: ValidationError) -> ApiError:
    errors = list(flat_errors(error.detail))
    return ApiError("invalid", "; ".join(f"{e['field']}: {e['message']}" for e in errors), errors=errors)


def _refusal_of_stripe(error: StripeRefused) -> ApiError:
    is_for_sale = error.code not in {"price_missing", "stripe_off"}
    return ApiError("payment_refused" if is_for_sale else "conflict", str(error))


_MEANINGS: dict[type, Callable[[Any], ApiError]] = {
    InvalidKey: lambda _: ApiError(
        "unauthenticated", "Invalid or missing API key", headers={"WWW-Authenticate": "Bearer"}
    ),
    ForbiddenAddress: lambda _: ApiError("address_not_allowed"),
    RequestDataTooBig: lambda _: ApiError("too_large"),
    SuspiciousOperation: lambda _: ApiError("bad_request"),
    MultiPartParserError: lambda _: ApiError("bad_request", "The form cannot be read as multipart/form-data."),
    UnreadablePostError: lambda _: ApiError("bad_request", "The body ended before its announced length."),
    InvalidInput: _says("bad_request"),
    TooLarge: _says("too_large"),
    CapsuleNotFound: _says("not_found"),
    SessionNotFound: _says("not_found"),
    TriggerNotFound: _says("not_found"),
    SessionBelongsToAnother: _says("conflict"),
    SessionSealed: _says("conflict"),
    SessionFull: _says("conflict"),
    QuotaReached: _says("quota_reached"),
    StripeRefused: _refusal_of_stripe,
    StripeUnavailable: lambda error: ApiError("payment_unavailable", headers={"Retry-After": str(error.retry_after)}),
    TooSoon: lambda error: ApiError("rate_limited", str(error), headers={"Retry-After": str(error.retry_after)}),
    TenancyError: _refusal_of_tenancy,
    Invalid: _refusal_of_field,
    APIException: _refusal_of_drf,
    ValidationError: _refusal_of_serializer,
}


def flat_errors(detail: Any, path: str = "") -> "list[dict[str, str]]":
    """Every problem of a serializer, as `{field, message}`; a nested field is `outer.inner`."""
    if isinstance(detail, dict):
        return [
            row for key, value in detail.items() for row in flat_errors(value, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(detail, list):
        nested = [
            row
            for n, value in enumerate(detail)
            if isinstance(value, dict)
            for row in flat_errors(value, f"{path}.{n}")
        ]
        return nested + [{"field": path, "message": str(value)} for value in detail if not isinstance(value, dict)]
    return [{"field": path, "message": str(detail)}]
