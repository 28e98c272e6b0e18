"""The organization's audit trail."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.resource import Resource, paged, read_query
from tenancy.audit import selectors
from tenancy.audit.models import AuditEvent
from tenancy.roles import Right


class AuditQuery(serializers.Serializer[AuditEvent]):
    """Which events."""

    action = serializers.CharField(required=False, max_length=64, help_text="From the start: `organization.member`.")
    actor = serializers.CharField(required=False, max_length=254, help_text="An id, or a part of a name.")
    target = serializers.CharField(required=False, max_length=254, help_text="An id, or a part of a name.")
    since = serializers.DateTimeField(required=False, help_text="Inclusive.")
    until = serializers.DateTimeField(required=False, help_text="Exclusive.")


class PartySerializer(serializers.Serializer[Any]):
    """Somebody or something, as it was called then."""

    kind = serializers.CharField()
    id = serializers.CharField(allow_blank=True)
    label = serializers.CharField(allow_blank=True)  # type: ignore[assignment]  # a column that is called as DRF's own attribute


class OriginSerializer(serializers.Serializer[Any]):
    """Where a request came from."""

    request_id = serializers.CharField(allow_blank=True)
    ip = serializers.CharField(allow_blank=True)
    user_agent = serializers.CharField(allow_blank=True)


class AuditEventAnswer(serializers.Serializer[AuditEvent]):
    """One thing that happened."""

    id = serializers.UUIDField()
    action = serializers.CharField()
    actor = PartySerializer()
    target = PartySerializer()
    context = OriginSerializer()  # type: ignore[assignment]  # a column that is called as DRF's own attribute
    metadata = serializers.DictField()
    occurred_at = serializers.DateTimeField()


class AuditEventsResource(Resource):
    """/v1/audit/events"""

    rights = {"GET": Right.AUDIT_READ}

    @extend_schema(
        operation_id="list_audit_events",
        parameters=[AuditQuery, *paging.PARAMETERS],
        responses=paged(AuditEventAnswer),
    )
    def get(self, request: Request) -> Response:
        """List what happened, newest first."""
        query = read_query(AuditQuery, request)
        limit, before = paging.limit_of(request), paging.cursor_of(request)
        with self.scope(request):
            rows = selectors.events(before=before, limit=limit + 1, **query)
        return Response(paging.answer(rows, limit, lambda row: row.pk, lambda row: AuditEventAnswer(row).data))
