"""The OpenAPI document: drf-spectacular writes the control plane, the plain routes are added from their declarations.

Checked in as docs/api/openapi.yaml (`manage.py spectacular --file docs/api/openapi.yaml`), served at /openapi.json and
browsable at /docs.
"""

import functools
from inspect import getdoc
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularSwaggerSplitView

from capsule_cloud.api import catalogue, idempotency, receipts, shapes
from capsule_cloud.api.errors import CODES
from capsule_cloud.api.operations import Operation

Document = dict[str, Any]
SECURITY: list[dict[str, list[str]]] = [{"apiKey": []}]
URLCONF = "capsule_cloud.api.urls"
READ_ERRORS = (400, 401, 403, 404, 422, 429)
WRITE_ERRORS = (*READ_ERRORS, 409, 413)
CONTROL_PLANE_ERRORS = (406, 415)
DATA_PLANE_ERRORS = (402,)
PAYMENT_ERRORS = (402, 503)
READ_AT_STRIPE = {"/v1/billing/cards", "/v1/billing/seats"}  # and may find nothing to ask about, or Stripe away
ENGINE_ERROR = shapes.shape(
    detail={"oneOf": [shapes.TEXT, shapes.many(shapes.ANYTHING)], "description": "A sentence, or FastAPI's list."}
)
PROBLEM = shapes.perhaps(
    shapes.shape(
        type=shapes.TEXT,
        title=shapes.TEXT,
        status=shapes.WHOLE,
        detail=shapes.TEXT,
        code={"type": "string", "enum": sorted(CODES)},
        request_id=shapes.TEXT,
    ),
    errors=shapes.many(shapes.shape(field=shapes.TEXT, message=shapes.TEXT)),
)
IDEMPOTENCY = {
    "name": idempotency.HEADER,
    "in": "header",
    "description": "Makes the request happen once: the same key and body get the same answer for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
RECEIPT = {
    name: {"description": about, "schema": shapes.WHOLE if name in receipts.NUMBERS else shapes.TEXT}
    for name, about in receipts.HEADERS.items()
}
ABOUT = (
    "Memory for AI products. `/api/v1` are the routes of the capsule-memory engine's own server, with the same "
    "parameters and answers, so that its clients work with another base URL and a key; and more routes. "
    "`/v1` manages the organization. Every request carries `Authorization: Bearer cmk_…`; the key names the project, "
    "and `user_id` is your end user inside it."
)
HEALTH: Document = {
    "operationId": "health_check",
    "tags": ["Health"],
    "summary": "Whether the service runs; needs no key.",
    "security": [],
    "responses": {
        "200": {
            "description": "It runs; `version` is the engine's.",
            "content": {"application/json": {"schema": shapes.shape(status=shapes.TEXT, version=shapes.TEXT)}},
        }
    },
}


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # drf-spectacular's own
    """Describes the bearer key to drf-spectacular."""

    target_class = "capsule_cloud.api.auth.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> Document:
        """The OpenAPI security scheme."""
        return {"type": "http", "scheme": "bearer", "description": "An API key of a project: `cmk_…`."}


def add_plain_routes(result: Document, **kwargs: Any) -> Document:
    """drf-spectacular's postprocessing hook: the plain routes, the errors, and `Idempotency-Key` on every POST."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update({"EngineError": ENGINE_ERROR, "Problem": PROBLEM})
    components["responses"] = {
        "EngineError": _refusal("As the engine refuses.", "application/json", "EngineError"),
        "Problem": _refusal("A problem (RFC 9457); `code` is stable.", "application/problem+json", "Problem"),
    }
    for path, methods in result["paths"].items():
        for method, described in methods.items():
            _complete(path, method, described)
    plain: dict[str, Document] = {}
    for tag, operations in catalogue.PLAIN.items():
        for one in operations:
            path = f"/{catalogue.PREFIX}{one.documented_path}"
            plain.setdefault(path, {})[one.method.lower()] = _plain(one, tag)
    result["info"]["description"] = ABOUT
    result["paths"] = plain | result["paths"] | {"/health": {"get": HEALTH}}
    return result


def _complete(path: str, method: str, described: Document) -> None:
    """What drf-spectacular cannot know of a control-plane operation."""
    described["tags"] = [path.split("/")[2].capitalize()]
    described["summary"], _, rest = described.pop("description", "").partition(". ")
    if rest:
        described["description"] = rest
    if method == "post":
        described.setdefault("parameters", []).append(IDEMPOTENCY)
    errors: tuple[int, ...] = READ_ERRORS if method == "get" else WRITE_ERRORS
    if path.startswith("/v1/billing/") and method != "get":
        errors += PAYMENT_ERRORS
    if path in READ_AT_STRIPE and method == "get":
        errors += (409, 503)
    described["responses"].update(_errors((*errors, *CONTROL_PLANE_ERRORS), "Problem"))


def _plain(one: Operation, tag: str) -> Document:
    summary, _, rest = (getdoc(one.handler) or "").partition("\n")
    parameters: list[Document] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in one.path_names
    ]
    parameters += [
        {"name": field.name, "in": "query", "required": field.is_required, "schema": field.schema()}
        for field in one.query
    ]
    parameters += [
        {"name": name, "in": "header", "schema": shapes.TEXT, "description": about}
        for name, about in one.headers.items()
    ]
    if one.method == "POST":
        parameters.append(IDEMPOTENCY)
    success = {
        "description": "Done.",
        "headers": RECEIPT,
        "content": {kind: {"schema": schema} for kind, schema in one.answer.items()},
    }
    errors = READ_ERRORS if one.method == "GET" else WRITE_ERRORS
    described: Document = {
        "operationId": one.handler.__name__,
        "tags": [tag],
        "summary": summary,
        "security": SECURITY,
        "parameters": parameters,
        "responses": {"200": success} | _errors((*errors, *DATA_PLANE_ERRORS), "EngineError"),
    }
    if one.is_parkable:
        later = "A cap is reached, and the customer chose that writes wait: it is kept, and happens when the cap lifts."
        described["responses"]["202"] = {"description": later, "content": success["content"]}
    if rest.strip():
        described["description"] = rest.strip()
    if one.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": one.body.schema()}}}
    elif one.form is not None:
        schema = one.form.schema()
        schema["properties"]["file"] = shapes.FILE
        schema["required"] = ["file", *schema.get("required", ())]
        described["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    return described


def _refusal(description: str, content_type: str, schema: str) -> Document:
    return {
        "description": description,
        "content": {content_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _errors(statuses: tuple[int, ...], response: str) -> Document:
    return {str(status): {"$ref": f"#/components/responses/{response}"} for status in sorted(statuses)}


@functools.cache
def _document() -> bytes:
    generator: Any = SchemaGenerator  # drf-spectacular leaves it untyped
    return orjson.dumps(generator(urlconf=URLCONF).get_schema(request=None, public=True))


def document(request: HttpRequest) -> HttpResponse:
    """The document for programs; made once a process."""
    return HttpResponse(_document(), content_type="application/vnd.oai.openapi+json")


class Browser(SpectacularSwaggerSplitView):
    """The document for people: Swagger UI from our own static files, its script in a request of its own."""

    authentication_classes = ()
    permission_classes = ()
    url = "/openapi.json"
    template_name = "api/docs.html"  # drf-spectacular's own has an inline style, which our content policy forbids
