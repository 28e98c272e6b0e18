"""The organization's audit trail: searches, single events, and searches that are kept."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.resource import Resource, paged, read_body, read_query
from tenancy.audit import ocsf, selectors
from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing.models import Leaf
from tenancy.audit.search import services as views
from tenancy.audit.search.models import SavedView
from tenancy.roles import Right


class AuditQuery(serializers.Serializer[AuditEvent]):
    """Which events: what fits all of these."""

    action = serializers.CharField(
        required=False, max_length=400, help_text="Beginnings of names, with commas between: `organization.member`."
    )
    actor = serializers.CharField(required=False, max_length=255, help_text="An id, or a part of a name.")
    target = serializers.CharField(
        required=False, max_length=255, help_text="An id; or, where nothing has it, a part of a name."
    )
    ip = serializers.CharField(
        required=False, max_length=45, help_text="An address; `203.0.113.` or `2001:db8:` for all that begin so."
    )
    text = serializers.CharField(
        required=False, max_length=255, help_text="What stands anywhere in an event, or in a name or address in it."
    )
    is_failure = serializers.BooleanField(required=False, help_text="Only what was tried and refused.")
    is_staff = serializers.BooleanField(required=False, help_text="Only what our staff did.")
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
    session_id = serializers.CharField(
        allow_blank=True, default="", help_text="Of the console: the same for all that one sign-in did."
    )


class AuditEventAnswer(serializers.Serializer[AuditEvent]):
    """One thing that happened."""

    id = serializers.UUIDField()
    action = serializers.CharField()
    actor = PartySerializer()
    target = PartySerializer()
    context = OriginSerializer()  # type: ignore[assignment]  # a column that is called as DRF's own attribute
    reason = serializers.CharField(allow_blank=True, help_text="Why, where somebody had to say so; our staff do.")
    changes = serializers.DictField(
        child=serializers.ListField(min_length=2, max_length=2, child=serializers.JSONField()),
        help_text="For each field the value before and the one after; secrets are hidden.",
    )
    metadata = serializers.DictField()
    occurred_at = serializers.DateTimeField()


class AuditEventPage(paged(AuditEventAnswer)):  # type: ignore[misc]  # made by a function
    """A page of a search."""

    looked_back_to = serializers.DateTimeField(
        allow_null=True,
        help_text="Set when the time for one request was over before the page was full: everything since then was "
        "looked at. `next_cursor` goes on from there; the page may be empty.",
    )


class AuditEventDetail(AuditEventAnswer):
    """One event with all its forms."""

    body = serializers.CharField(help_text="What is hashed and proved: one JSON object. People are pseudonyms in it.")
    index = serializers.IntegerField(allow_null=True, help_text="Its place in the log; null while it is not sealed.")
    ocsf = serializers.DictField(help_text="The event in the Open Cybersecurity Schema Framework.")


class AuditEventsResource(Resource):
    """/v1/audit/events"""

    rights = {"GET": Right.AUDIT_READ}

    @extend_schema(
        operation_id="list_audit_events", parameters=[AuditQuery, *paging.PARAMETERS], responses=AuditEventPage
    )
    def get(self, request: Request) -> Response:
        """Search what happened, newest first.

        Actors, exact targets, actions, failures and staff are found at once, however long the log is. An address, a
        text and a part of a target's name are looked for from the newest event on, for about a second a request.
        """
        query = read_query(AuditQuery, request)
        limit, before = paging.limit_of(request), paging.cursor_of(request)
        with self.scope(request):
            found = selectors.search(before=before, limit=limit, **query)
        return Response(
            {
                "data": [AuditEventAnswer(event).data for event in found.events],
                "next_cursor": paging.encode(found.before) if found.before else None,
                "looked_back_to": found.looked_back_to,
            }
        )


class AuditEventResource(Resource):
    """/v1/audit/events/{audit_event_id}"""

    rights = {"GET": Right.AUDIT_READ}

    @extend_schema(operation_id="get_audit_event", responses=AuditEventDetail)
    def get(self, request: Request, audit_event_id: UUID) -> Response:
        """Get one event, the bytes that prove it, and its OCSF form."""
        with self.scope(request):
            event = selectors.event(audit_event_id)
            if event is None:
                raise ApiError("not_found")
            index = Leaf.objects.filter(event_id=audit_event_id).values_list("seq", flat=True).first()
        more = {"body": event.body, "index": index, "ocsf": ocsf.ocsf(event)}
        return Response({**AuditEventAnswer(event).data, **more})


class ViewBody(serializers.Serializer[SavedView]):
    """A search to keep."""

    name = serializers.CharField(max_length=64)
    filters = serializers.DictField(
        child=serializers.CharField(allow_blank=True),
        help_text="As the query parameters of `/v1/audit/events` are written, `since` and `until` too.",
    )


class ViewAnswer(serializers.Serializer[SavedView]):
    """A search that is kept, for everybody who may read the log."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    filters = serializers.DictField(child=serializers.CharField())
    created_at = serializers.DateTimeField()


class AuditViewsResource(Resource):
    """/v1/audit/views"""

    rights = {"GET": Right.AUDIT_READ, "POST": Right.AUDIT_READ}

    @extend_schema(operation_id="list_audit_views", parameters=paging.PARAMETERS, responses=paged(ViewAnswer))
    def get(self, request: Request) -> Response:
        """List the shared searches; what a person kept for themselves is theirs."""
        with self.scope(request):
            rows = views.views(self.principal(request).actor)
        return Response(paging.page(request, rows, lambda row: row.pk, lambda row: ViewAnswer(row).data))

    @extend_schema(operation_id="save_audit_view", request=ViewBody, responses={201: ViewAnswer})
    def post(self, request: Request) -> Response:
        """Keep a search under a name, for everybody; a second time under a name of the key's it replaces the first."""
        body = read_body(ViewBody, request)
        with self.scope(request):
            made = views.save(actor=self.principal(request).actor, is_shared=True, **body)
        return Response(ViewAnswer(made).data, status=status.HTTP_201_CREATED)


class AuditViewResource(Resource):
    """/v1/audit/views/{audit_view_id}"""

    rights = {"DELETE": Right.AUDIT_READ}

    @extend_schema(operation_id="delete_audit_view", responses={204: None})
    def delete(self, request: Request, audit_view_id: UUID) -> Response:
        """Forget a shared search."""
        with self.scope(request):
            views.delete(actor=self.principal(request).actor, view_id=audit_view_id)
        return Response(status=status.HTTP_204_NO_CONTENT)
