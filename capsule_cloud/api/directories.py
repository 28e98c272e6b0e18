"""Directories that provision people by SCIM: their settings, their tokens, and what they sent."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.members import KEY_RANK
from capsule_cloud.api.resource import Resource, paged, read_body, read_query
from tenancy.roles import Right, Role
from tenancy.scim.directories import selectors, services
from tenancy.scim.directories.remedies import explain
from tenancy.scim.models import Directory, DirectoryToken, Exchange

DEFAULT_OVERLAP = 24 * 3600  # seconds


class DirectoryAnswer(serializers.ModelSerializer[Directory]):
    """A directory, and how many people and groups it keeps here."""

    keys_go_to = serializers.UUIDField(
        source="keys_go_to_id", allow_null=True, help_text="The member who gets the API keys of who leaves; null: none."
    )
    users = serializers.IntegerField(help_text="All that it has sent, also those who have left.")
    active_users = serializers.IntegerField()
    groups = serializers.IntegerField()

    class Meta:
        model = Directory
        fields = [
            *("id", "name", "kind", "default_role", "keys_go_to", "is_on", "created_at", "last_request_at"),
            *("users", "active_users", "groups"),
        ]


class DirectoryTokenAnswer(serializers.ModelSerializer[DirectoryToken]):
    """A token without its secret."""

    class Meta:
        model = DirectoryToken
        fields = ["id", "hint", "created_at", "expires_at", "revoked_at", "last_used_at"]


class NewDirectoryTokenAnswer(DirectoryTokenAnswer):
    """A token just made. `secret` is shown here and never again."""

    secret = serializers.CharField()

    class Meta(DirectoryTokenAnswer.Meta):
        fields = [*DirectoryTokenAnswer.Meta.fields, "secret"]


class NewDirectoryAnswer(DirectoryAnswer):
    """A directory just added, with its first token."""

    token = NewDirectoryTokenAnswer()

    class Meta(DirectoryAnswer.Meta):
        fields = [*DirectoryAnswer.Meta.fields, "token"]


class NewDirectory(serializers.Serializer[Any]):
    """What to add."""

    name = serializers.CharField(max_length=120)
    kind = serializers.ChoiceField(choices=Directory.Kind.choices, default=Directory.Kind.GENERIC.value)
    default_role = serializers.ChoiceField(
        choices=Role.choices, default=Role.VIEWER.value, help_text="Of newcomers to whom no group gives another."
    )


class DirectoryChange(serializers.Serializer[Any]):
    """What to change; the rest stays."""

    name = serializers.CharField(max_length=120, required=False)
    kind = serializers.ChoiceField(choices=Directory.Kind.choices, required=False)
    default_role = serializers.ChoiceField(choices=Role.choices, required=False)
    keys_go_to = serializers.UUIDField(required=False, allow_null=True)
    is_on = serializers.BooleanField(required=False, help_text="While it is off, its tokens open nothing.")


class NewDirectoryToken(serializers.Serializer[Any]):
    """How long a token is to live."""

    expires_at = serializers.DateTimeField(required=False, allow_null=True)


class DirectoryTokenRotation(serializers.Serializer[Any]):
    """How to rotate."""

    overlap_seconds = serializers.IntegerField(
        min_value=0,
        max_value=int(services.MAX_OVERLAP.total_seconds()),
        default=DEFAULT_OVERLAP,
        help_text="How long the old token goes on working.",
    )


class ExchangeQuery(serializers.Serializer[Any]):
    """Which exchanges."""

    kind = serializers.ChoiceField(choices=Exchange.Kind.choices, required=False)
    resource = serializers.CharField(
        max_length=64, required=False, help_text="A type (`User`, `Group`) or the id of a resource."
    )
    since = serializers.DateTimeField(required=False)


class ExchangeAnswer(serializers.ModelSerializer[Exchange]):
    """A request and our answer, without secrets; long ones are cut."""

    reason = serializers.CharField(allow_null=True, help_text="Why it failed, in a sentence; null where it did not.")
    remedy = serializers.CharField(allow_null=True, help_text="What helps.")
    request = serializers.JSONField(help_text="Any JSON, or null where there was none.")
    answer = serializers.JSONField(help_text="Likewise.")

    class Meta:
        model = Exchange
        fields = [
            *("id", "kind", "method", "path", "status", "scim_type", "reason", "remedy", "token_hint"),
            *("resource_type", "resource_id", "request", "answer", "took_ms", "created_at"),
        ]


def _shown(directory: Directory) -> dict[str, Any]:
    counted = selectors.counted(directory.pk)
    counts = {"users": counted.users, "active_users": counted.active, "groups": counted.groups}
    for name, count in counts.items():
        setattr(directory, name, count)  # what the serializer reads
    return dict(DirectoryAnswer(directory).data)


def _with_secret(made: services.NewToken) -> dict[str, Any]:
    return {**DirectoryTokenAnswer(made.token).data, "secret": made.secret}


def _told(exchange: Exchange) -> dict[str, Any]:
    reason = explain(exchange.status, exchange.scim_type) if exchange.kind == Exchange.Kind.FAILURE else None
    exchange.reason = reason and reason.sentence  # type: ignore[attr-defined]  # what the serializer reads
    exchange.remedy = reason and reason.remedy  # type: ignore[attr-defined]
    return dict(ExchangeAnswer(exchange).data)


class DirectoriesResource(Resource):
    """/v1/scim/directories"""

    rights = {"GET": Right.SSO_READ, "POST": Right.SSO_MANAGE}

    @extend_schema(operation_id="list_directories", parameters=paging.PARAMETERS, responses=paged(DirectoryAnswer))
    def get(self, request: Request) -> Response:
        """List the directories, the oldest first."""
        with self.scope(request):
            return Response(paging.page(request, selectors.directories(), lambda row: row.pk, _shown))

    @extend_schema(operation_id="add_directory", request=NewDirectory, responses={201: NewDirectoryAnswer})
    def post(self, request: Request) -> Response:
        """Add a directory. The answer has its first token, which is shown here and never again."""
        values = read_body(NewDirectory, request)
        with self.scope(request):
            directory, made = services.add(actor=self.principal(request).actor, actor_role=KEY_RANK, **values)
            shown = _shown(directory) | {"token": _with_secret(made)}
        return Response(shown, status=status.HTTP_201_CREATED)


class DirectoryResource(Resource):
    """/v1/scim/directories/{directory_id}"""

    rights = {"GET": Right.SSO_READ, "PATCH": Right.SSO_MANAGE, "DELETE": Right.SSO_MANAGE}

    @extend_schema(operation_id="get_directory", responses=DirectoryAnswer)
    def get(self, request: Request, directory_id: UUID) -> Response:
        """Get a directory."""
        with self.scope(request):
            return Response(_shown(selectors.directory(directory_id)))

    @extend_schema(operation_id="update_directory", request=DirectoryChange, responses=DirectoryAnswer)
    def patch(self, request: Request, directory_id: UUID) -> Response:
        """Change a directory, or switch it off and on."""
        values = read_body(DirectoryChange, request)
        with self.scope(request):
            now = selectors.directory(directory_id)
            kept = {name: getattr(now, name) for name in ("name", "kind", "default_role", "is_on")}
            wanted = {**kept, "keys_go_to": now.keys_go_to_id, **values}
            actor = self.principal(request).actor
            services.change(actor=actor, actor_role=KEY_RANK, directory_id=directory_id, **wanted)
            return Response(_shown(selectors.directory(directory_id)))

    @extend_schema(operation_id="remove_directory", responses={204: None})
    def delete(self, request: Request, directory_id: UUID) -> Response:
        """Remove a directory, its tokens and its log. Its people stay members with the roles that they have."""
        with self.scope(request):
            services.remove(actor=self.principal(request).actor, directory_id=directory_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class DirectoryTokensResource(Resource):
    """/v1/scim/directories/{directory_id}/tokens"""

    rights = {"GET": Right.SSO_READ, "POST": Right.SSO_MANAGE}

    @extend_schema(
        operation_id="list_directory_tokens", parameters=paging.PARAMETERS, responses=paged(DirectoryTokenAnswer)
    )
    def get(self, request: Request, directory_id: UUID) -> Response:
        """List the tokens, the newest first; those that are over, too."""
        with self.scope(request):
            rows = selectors.tokens(selectors.directory(directory_id).pk)
        page = paging.page(
            request, rows, lambda row: row.pk, lambda row: DirectoryTokenAnswer(row).data, newest_first=True
        )
        return Response(page)

    @extend_schema(
        operation_id="create_directory_token", request=NewDirectoryToken, responses={201: NewDirectoryTokenAnswer}
    )
    def post(self, request: Request, directory_id: UUID) -> Response:
        """Make one more token; the others go on working."""
        values = read_body(NewDirectoryToken, request)
        with self.scope(request):
            made = services.add_token(actor=self.principal(request).actor, directory_id=directory_id, **values)
        return Response(_with_secret(made), status=status.HTTP_201_CREATED)


class DirectoryTokenResource(Resource):
    """/v1/scim/directories/{directory_id}/tokens/{token_id}"""

    rights = {"DELETE": Right.SSO_MANAGE}

    @extend_schema(operation_id="revoke_directory_token", responses={204: None})
    def delete(self, request: Request, directory_id: UUID, token_id: UUID) -> Response:
        """Revoke a token at once."""
        actor = self.principal(request).actor
        with self.scope(request):
            services.revoke_token(actor=actor, directory_id=directory_id, token_id=token_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class DirectoryTokenRotationResource(Resource):
    """/v1/scim/directories/{directory_id}/tokens/{token_id}/rotate"""

    rights = {"POST": Right.SSO_MANAGE}

    @extend_schema(
        operation_id="rotate_directory_token",
        request=DirectoryTokenRotation,
        responses={201: NewDirectoryTokenAnswer},
    )
    def post(self, request: Request, directory_id: UUID, token_id: UUID) -> Response:
        """Replace a token. Both work for the overlap, then the old one ends."""
        overlap = timedelta(seconds=read_body(DirectoryTokenRotation, request)["overlap_seconds"])
        actor = self.principal(request).actor
        with self.scope(request):
            made = services.rotate_token(actor=actor, directory_id=directory_id, token_id=token_id, overlap=overlap)
        return Response(_with_secret(made), status=status.HTTP_201_CREATED)


class DirectoryExchangesResource(Resource):
    """/v1/scim/directories/{directory_id}/exchanges"""

    rights = {"GET": Right.SSO_READ}

    @extend_schema(
        operation_id="list_directory_exchanges",
        parameters=[ExchangeQuery, *paging.PARAMETERS],
        responses=paged(ExchangeAnswer),
    )
    def get(self, request: Request, directory_id: UUID) -> Response:
        """List what the directory sent in the last 30 days and what we answered, the newest first."""
        wanted = read_query(ExchangeQuery, request)
        limit, before = paging.limit_of(request), paging.cursor_of(request)
        with self.scope(request):
            directory = selectors.directory(directory_id)
            rows = selectors.exchanges(directory.pk, before=before, limit=limit + 1, **wanted)
        return Response(paging.answer(rows, limit, lambda row: row.pk, _told))
