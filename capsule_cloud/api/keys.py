"""API keys, managed by an API key: it never gives more than it has."""

import ipaddress
from datetime import timedelta
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.members import KEY_RANK
from capsule_cloud.api.resource import Resource, paged, read_body
from tenancy import selectors
from tenancy.access import KeyPrincipal
from tenancy.errors import NotFound
from tenancy.models import ApiKey
from tenancy.roles import KeyScope, Right
from tenancy.services import keys

CHILD, SIBLING = "child", "sibling"
DEFAULT_OVERLAP = 24 * 3600  # seconds


class KeyAnswer(serializers.ModelSerializer[ApiKey]):
    """An API key without its secret."""

    project_id = serializers.UUIDField()
    parent_id = serializers.UUIDField(allow_null=True)
    successor_id = serializers.UUIDField(allow_null=True)

    class Meta:
        model = ApiKey
        fields = [
            "id",
            "project_id",
            "parent_id",
            "successor_id",
            "name",
            "hint",
            "scopes",
            "requests_per_minute",
            "allowed_cidrs",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
        ]


class NewKeyAnswer(KeyAnswer):
    """An API key just made. `secret` is shown here and never again."""

    secret = serializers.CharField()

    class Meta(KeyAnswer.Meta):
        fields = [*KeyAnswer.Meta.fields, "secret"]


class NewKey(serializers.Serializer[ApiKey]):
    """What a key is to do."""

    name = serializers.CharField(max_length=120)
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=KeyScope.choices), min_length=1, max_length=20)
    relation = serializers.ChoiceField(
        choices=[CHILD, SIBLING],
        default=CHILD,
        help_text="A child ends with the key that makes it; a sibling goes on without it. Neither has more scopes.",
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    requests_per_minute = serializers.IntegerField(min_value=1, max_value=1_000_000, required=False, allow_null=True)
    allowed_cidrs = serializers.ListField(child=serializers.CharField(max_length=43), max_length=100, required=False)

    def validate_allowed_cidrs(self, values: list[str]) -> list[str]:
        """Each as the network that it names."""
        try:
            return [str(ipaddress.ip_network(cidr.strip(), strict=False)) for cidr in values]
        except ValueError:
            raise serializers.ValidationError("Write address ranges as 203.0.113.0/24.") from None


class Rotation(serializers.Serializer[ApiKey]):
    """How to rotate."""

    overlap_seconds = serializers.IntegerField(
        min_value=0,
        max_value=int(keys.MAX_OVERLAP.total_seconds()),
        default=DEFAULT_OVERLAP,
        help_text="How long the old key goes on working.",
    )


class Revoked(serializers.Serializer[ApiKey]):
    """What ended."""

    id = serializers.UUIDField()
    keys_revoked = serializers.IntegerField(help_text="The key and every key below it.")


class KeysResource(Resource):
    """/v1/keys"""

    rights = {"GET": Right.KEYS_READ, "POST": Right.KEYS_WRITE}

    @extend_schema(operation_id="list_keys", parameters=paging.PARAMETERS, responses=paged(KeyAnswer))
    def get(self, request: Request) -> Response:
        """List the organization's living keys, newest first."""
        with self.scope(request):
            rows = selectors.keys()
        page = paging.page(request, rows, lambda row: row.pk, lambda row: KeyAnswer(row).data, newest_first=True)
        return Response(page)

    @extend_schema(operation_id="create_key", request=NewKey, responses={201: NewKeyAnswer})
    def post(self, request: Request) -> Response:
        """Create a key for the project of the calling key, which it cannot outrank."""
        values = read_body(NewKey, request)
        principal = self.principal(request)
        with self.scope(request):
            maker = _sibling_maker(principal, values) if values.pop("relation") == SIBLING else _parent(principal)
            made = keys.create(maker=maker, project_id=principal.project_id, **values)
        return Response(_with_secret(made), status=status.HTTP_201_CREATED)


class KeyResource(Resource):
    """/v1/keys/{key_id}"""

    rights = {"GET": Right.KEYS_READ, "DELETE": Right.KEYS_WRITE}

    @extend_schema(operation_id="get_key", responses=KeyAnswer)
    def get(self, request: Request, key_id: UUID) -> Response:
        """Get a key, an ended one too."""
        with self.scope(request):
            return Response(KeyAnswer(_find(key_id)).data)

    @extend_schema(operation_id="revoke_key", responses={200: Revoked})
    def delete(self, request: Request, key_id: UUID) -> Response:
        """Revoke a key and every key below it, everywhere within a second."""
        with self.scope(request):
            ended = keys.revoke(actor=self.principal(request).actor, key_id=key_id)
        return Response({"id": key_id, "keys_revoked": ended})


class KeyRotationResource(Resource):
    """/v1/keys/{key_id}/rotate"""

    rights = {"POST": Right.KEYS_WRITE}

    @extend_schema(operation_id="rotate_key", request=Rotation, responses={201: NewKeyAnswer})
    def post(self, request: Request, key_id: UUID) -> Response:
        """Replace a key: the calling key itself, or one below it. Both work for the overlap, then the old one ends."""
        overlap = timedelta(seconds=read_body(Rotation, request)["overlap_seconds"])
        principal = self.principal(request)
        with self.scope(request):
            made = keys.rotate(actor=principal.actor, key_id=key_id, overlap=overlap)
        return Response(_with_secret(made), status=status.HTTP_201_CREATED)


def _with_secret(made: keys.NewKey) -> dict[str, Any]:
    return {**KeyAnswer(made.key).data, "secret": made.secret}


def _find(key_id: UUID) -> ApiKey:
    key = next((key for key in selectors.keys(with_ended=True) if key.pk == key_id), None)
    if key is None:
        raise NotFound("There is no such key.")
    return key


def _parent(principal: KeyPrincipal) -> keys.Maker:
    # the person behind the calling key stays behind the new one, so that it ends when they leave
    return keys.Maker(principal.actor, user=_find(principal.key_id).created_by, parent_id=principal.key_id)


def _sibling_maker(principal: KeyPrincipal, values: dict[str, Any]) -> keys.Maker:
    """The maker of a key beside the calling one: under the same parent, and with no more than the calling one has."""
    caller = _find(principal.key_id)
    asked = {name: values.get(name) for name in ("expires_at", "requests_per_minute")}
    keys.check_bounds(caller, values["scopes"], allowed_cidrs=values.get("allowed_cidrs", ()), **asked)
    values["expires_at"] = values.get("expires_at") or caller.expires_at
    values["requests_per_minute"] = values.get("requests_per_minute") or caller.requests_per_minute
    values["allowed_cidrs"] = values.get("allowed_cidrs") or caller.allowed_cidrs
    return keys.Maker(principal.actor, user=caller.created_by, role=KEY_RANK, parent_id=caller.parent_id)
