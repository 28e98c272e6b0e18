"""The base of the control plane's views (/v1): Django REST Framework, with strict JSON and the key's organization."""

import re
from contextlib import AbstractContextManager
from typing import Any, ClassVar
from uuid import UUID

import orjson
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from capsule_cloud.api.auth import principal_of
from capsule_cloud.api.json_bodies import parse_json
from tenancy.access import KeyPrincipal
from tenancy.audit.attempts.services import reading
from tenancy.roles import Right
from tenancy.scope import scope


class StrictJson(BaseParser):
    """JSON as RFC 8259 has it; nesting that would exhaust the stack, NaN and bad UTF-8 are refused."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The body's value."""
        try:
            return parse_json(stream.read())
        except orjson.JSONDecodeError as error:
            raise ParseError(f"The body is no JSON: {error}.") from None


class Resource(APIView):
    """One path of the control plane. `rights` says what each method needs."""

    rights: ClassVar[dict[str, Right]]
    ways_out: ClassVar[frozenset[str]] = frozenset()  # the methods that an unpaid bill does not close
    calls_out: ClassVar[bool] = False  # whether its POST asks another service, which no transaction may be open for
    parser_classes = [StrictJson]
    metadata_class = None  # OPTIONS is for preflights, which the door answers
    http_method_names = ["get", "post", "put", "patch", "delete"]

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """As DRF's; who reads the audit log stands in it."""
        answer: Response = super().finalize_response(request, response, *args, **kwargs)
        if self.rights.get(str(request.method)) is Right.AUDIT_READ:
            who = self.principal(request)
            reading(organization_id=who.organization_id, page=_words_of(request.path_info), actor=who.actor)
        return answer

    def scope(self, request: Request) -> AbstractContextManager[UUID]:
        """The organization of the key."""
        return scope(self.principal(request).organization_id)

    @staticmethod
    def principal(request: Request) -> KeyPrincipal:
        """The key that asks."""
        return principal_of(request._request)


def _words_of(path: str) -> str:
    """A path without its ids."""
    return "/".join(part for part in path.split("/") if not part or re.fullmatch(r"v1|[a-z-]+", part))


def read_body(kind: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The body, checked. DRF's ValidationError becomes `invalid` with each field's problem."""
    return _checked(kind(data=request.data))


def read_query(kind: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The query parameters, checked likewise."""
    return _checked(kind(data=request.query_params))


def _checked(serializer: serializers.Serializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values


def paged(kind: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """The shape of a page of `kind`, for the document."""
    fields = {
        "data": kind(many=True),
        "next_cursor": serializers.CharField(allow_null=True, help_text="For `?cursor=`; null on the last page."),
    }
    name = kind.__name__.removesuffix("Answer") + "Page"
    return type(name, (serializers.Serializer,), fields)
