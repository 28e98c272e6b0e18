"""The writes that wait for a cap to lift, and those that could not be applied."""

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from billing.quotas import parking, selectors
from billing.quotas.models import ParkedWrite
from capsule_cloud.api import paging
from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.resource import Resource, read_query
from tenancy.roles import Right

LONGEST_NUMBER = 18  # digits


class KeptWriteAnswer(serializers.ModelSerializer[ParkedWrite]):
    """A write that was accepted at a cap; what it says stays encrypted. `error` says why it was set aside."""

    class Meta:
        model = ParkedWrite
        fields = ["id", "kind", "project_id", "session_id", "end_user", "quantity", "state", "error", "parked_at"]


class KeptWritesPage(serializers.Serializer[Any]):
    """Kept writes in the order in which they happen."""

    data = KeptWriteAnswer(many=True)  # type: ignore[assignment]  # a field that is called as DRF's own attribute
    next_cursor = serializers.CharField(allow_null=True)


class KeptQuery(serializers.Serializer[Any]):
    """Which writes."""

    state = serializers.ChoiceField(
        choices=[ParkedWrite.State.PARKED.value, ParkedWrite.State.FAILED.value],
        default=ParkedWrite.State.PARKED.value,
        help_text="`parked` waits for a cap to lift, `failed` was set aside.",
    )


class KeptWritesResource(Resource):
    """/v1/billing/parked"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(
        operation_id="list_parked_writes",
        parameters=[KeptQuery, OpenApiParameter("cursor", OpenApiTypes.STR), paging.PARAMETERS[1]],
        responses=KeptWritesPage,
    )
    def get(self, request: Request) -> Response:
        """List the writes that wait or were set aside, the next one first."""
        query, limit = read_query(KeptQuery, request), paging.limit_of(request)
        after = request.query_params.get("cursor", "0")
        if not (after.isascii() and after.isdigit() and len(after) <= LONGEST_NUMBER):
            raise ApiError("invalid_cursor")
        with self.scope(request):
            rows = selectors.parked_writes(state=query["state"], after=int(after), limit=limit + 1)
        shown = rows[:limit]
        following = str(shown[-1].number) if len(rows) > limit else None
        return Response({"data": [KeptWriteAnswer(one).data for one in shown], "next_cursor": following})


class KeptWriteResource(Resource):
    """/v1/billing/parked/{write_id}"""

    rights = {"DELETE": Right.MEMORY_DELETE}

    @extend_schema(operation_id="drop_parked_write", responses={204: None})
    def delete(self, request: Request, write_id: UUID) -> Response:
        """Delete a write that has not happened: it never will."""
        with self.scope(request):
            parking.drop(actor=self.principal(request).actor, write_id=write_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class KeptWriteRetryResource(Resource):
    """/v1/billing/parked/{write_id}/retry"""

    rights = {"POST": Right.MEMORY_WRITE}

    @extend_schema(operation_id="retry_parked_write", request=None, responses={200: KeptWriteAnswer})
    def post(self, request: Request, write_id: UUID) -> Response:
        """Let a write that was set aside wait again, behind the others."""
        with self.scope(request):
            write = parking.retry(actor=self.principal(request).actor, write_id=write_id)
        return Response(KeptWriteAnswer(write).data)
