"""Webhook endpoints, what they are told, and the log of it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.resource import Resource, paged, read_body, read_query
from tenancy.roles import Right
from tenancy.webhooks import catalogue, selectors, services
from tenancy.webhooks.models import Attempt, Delivery, Endpoint

STATES = ("active", "paused", "disabled")


class EndpointAnswer(serializers.ModelSerializer[Endpoint]):
    """An address that is told about events, and how it fares."""

    state = serializers.ChoiceField(choices=STATES)
    public_key = serializers.CharField(help_text="Verifies the signature v1a (Ed25519).")
    waiting = serializers.IntegerField(help_text=f"Deliveries; counted up to {selectors.MOST_COUNTED:,}.")
    oldest_at = serializers.DateTimeField(allow_null=True, help_text="Since when the first of them waits.")
    success_rate = serializers.FloatField(
        allow_null=True, help_text=f"Of the last {selectors.RECENT} attempts, 0 to 1; null before the first."
    )

    class Meta:
        model = Endpoint
        fields = [
            *("id", "url", "description", "event_types", "project_ids", "is_ordered", "api_version"),
            *("state", "state_reason", "state_since", "public_key", "previous_until", "failing_since"),
            *("last_success_at", "waiting", "oldest_at", "success_rate", "created_at"),
        ]


class NewEndpointAnswer(EndpointAnswer):
    """An endpoint with its secret, which is shown here and never again."""

    secret = serializers.CharField(help_text="whsec_…: verifies the signature v1 (HMAC-SHA-256).")

    class Meta(EndpointAnswer.Meta):
        fields = [*EndpointAnswer.Meta.fields, "secret"]


class EndpointFields(serializers.Serializer[Any]):
    """What an endpoint is told."""

    description = serializers.CharField(max_length=200, required=False, allow_blank=True)
    event_types = serializers.ListField(
        child=serializers.CharField(max_length=64),
        max_length=100,
        required=False,
        help_text="Types, or rooms such as `billing.*`; none: all. GET /v1/webhooks/event-types lists them.",
    )
    project_ids = serializers.ListField(
        child=serializers.UUIDField(),
        max_length=100,
        required=False,
        help_text="Projects whose events it is told; none: all. Events of no project are always told.",
    )
    is_ordered = serializers.BooleanField(
        required=False, help_text="One after the other: each waits until the one before it arrived or was given up."
    )


class NewEndpoint(EndpointFields):
    """Where to, and what is told."""

    url = serializers.CharField(max_length=2048, help_text="https, on the public internet.")


class EndpointChange(EndpointFields):
    """What is to change. `is_enabled` resumes a paused or disabled endpoint, or disables it."""

    url = serializers.CharField(max_length=2048, required=False)
    is_enabled = serializers.BooleanField(required=False)


class SecretRotation(serializers.Serializer[Any]):
    """How to rotate."""

    overlap_seconds = serializers.IntegerField(
        min_value=0,
        max_value=int(services.MAX_OVERLAP.total_seconds()),
        default=int(services.DEFAULT_OVERLAP.total_seconds()),
        help_text="How long both secrets sign; 0 ends the old one at once.",
    )


class ReplayWish(serializers.Serializer[Any]):
    """From when on."""

    since = serializers.DateTimeField(help_text="Within the last 30 days; inclusive.")
    until = serializers.DateTimeField(required=False, help_text="Exclusive; now unless given.")


class Replayed(serializers.Serializer[Any]):
    """How much is on its way."""

    deliveries = serializers.IntegerField()


class DeliveryQuery(serializers.Serializer[Any]):
    """Which deliveries."""

    state = serializers.ChoiceField(choices=Delivery.State.values, required=False)
    type = serializers.CharField(max_length=64, required=False, help_text="An event type.")


class DeliveryAnswer(serializers.ModelSerializer[Delivery]):
    """An event on its way to an endpoint. `last_code` says why the last attempt got no answer."""

    endpoint_id = serializers.UUIDField()
    event_id = serializers.UUIDField(help_text="The header `webhook-id`.")
    type = serializers.CharField(source="event.type")

    class Meta:
        model = Delivery
        fields = [
            *("id", "endpoint_id", "event_id", "type", "reason", "state", "attempts", "due_at", "last_status"),
            *("last_code", "created_at", "done_at"),
        ]


class AttemptAnswer(serializers.ModelSerializer[Attempt]):
    """One request, in excerpts without secrets."""

    request = serializers.DictField()
    response = serializers.DictField()

    class Meta:
        model = Attempt
        fields = [
            *("number", "started_at", "milliseconds", "status", "code", "sentence", "has_arrived", "request"),
            "response",
        ]


class DeliveryDetail(DeliveryAnswer):
    """A delivery with what is sent and every attempt, the newest first."""

    body = serializers.DictField()
    log = AttemptAnswer(many=True)

    class Meta(DeliveryAnswer.Meta):
        fields = [*DeliveryAnswer.Meta.fields, "body", "log"]


class EventTypeAnswer(serializers.Serializer[Any]):
    """A kind of event: the JSON Schema of its `data`, and an example of them."""

    name = serializers.CharField()
    sentence = serializers.CharField()
    of_project = serializers.BooleanField()
    schema = serializers.DictField()
    example = serializers.DictField()


def _shown(health: selectors.Health, **more: Any) -> dict[str, Any]:
    for name in ("public_key", "waiting", "oldest_at"):
        setattr(health.endpoint, name, getattr(health, name))
    health.endpoint.success_rate = health.rate  # type: ignore[attr-defined]  # what the serializer reads
    return {**EndpointAnswer(health.endpoint).data, **more}


class EventTypesResource(Resource):
    """/v1/webhooks/event-types"""

    rights = {"GET": Right.WEBHOOKS_READ}

    @extend_schema(operation_id="list_webhook_event_types", responses=EventTypeAnswer(many=True))
    def get(self, request: Request) -> Response:
        """List what endpoints can be told."""
        return Response([EventTypeAnswer(one).data for one in catalogue.TYPES.values()])


class EndpointsResource(Resource):
    """/v1/webhooks/endpoints"""

    rights = {"GET": Right.WEBHOOKS_READ, "POST": Right.WEBHOOKS_WRITE}

    @extend_schema(operation_id="list_webhook_endpoints", parameters=paging.PARAMETERS, responses=paged(EndpointAnswer))
    def get(self, request: Request) -> Response:
        """List the endpoints, the oldest first."""
        with self.scope(request):
            rows = selectors.endpoints()
        return Response(paging.page(request, rows, lambda row: row.endpoint.pk, _shown))

    @extend_schema(operation_id="create_webhook_endpoint", request=NewEndpoint, responses={201: NewEndpointAnswer})
    def post(self, request: Request) -> Response:
        """Add an endpoint. It is told what happens from now on; its secret is shown here once."""
        values = read_body(NewEndpoint, request)
        with self.scope(request):
            made = services.create(actor=self.principal(request).actor, **values)
            answer = _shown(selectors.endpoint(made.endpoint.pk), secret=made.secret)
        return Response(answer, status=status.HTTP_201_CREATED)


class EndpointResource(Resource):
    """/v1/webhooks/endpoints/{endpoint_id}"""

    rights = {"GET": Right.WEBHOOKS_READ, "PATCH": Right.WEBHOOKS_WRITE, "DELETE": Right.WEBHOOKS_WRITE}

    @extend_schema(operation_id="get_webhook_endpoint", responses=EndpointAnswer)
    def get(self, request: Request, endpoint_id: UUID) -> Response:
        """Get an endpoint."""
        with self.scope(request):
            return Response(_shown(selectors.endpoint(endpoint_id)))

    @extend_schema(operation_id="update_webhook_endpoint", request=EndpointChange, responses=EndpointAnswer)
    def patch(self, request: Request, endpoint_id: UUID) -> Response:
        """Change an endpoint, resume or disable it."""
        values = read_body(EndpointChange, request)
        is_enabled, actor = values.pop("is_enabled", None), self.principal(request).actor
        with self.scope(request):
            services.update(actor=actor, endpoint_id=endpoint_id, **values)
            if is_enabled is not None:
                move = services.enable if is_enabled else services.disable
                move(actor=actor, endpoint_id=endpoint_id)
            return Response(_shown(selectors.endpoint(endpoint_id)))

    @extend_schema(operation_id="delete_webhook_endpoint", responses={204: None})
    def delete(self, request: Request, endpoint_id: UUID) -> Response:
        """Delete an endpoint and its secrets; what waits for it is given up."""
        with self.scope(request):
            services.delete(actor=self.principal(request).actor, endpoint_id=endpoint_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class RotationResource(Resource):
    """/v1/webhooks/endpoints/{endpoint_id}/rotate"""

    rights = {"POST": Right.WEBHOOKS_WRITE}

    @extend_schema(operation_id="rotate_webhook_secret", request=SecretRotation, responses={201: NewEndpointAnswer})
    def post(self, request: Request, endpoint_id: UUID) -> Response:
        """Make a new secret, shown here once. Everything is signed with both until the overlap is over."""
        overlap = timedelta(seconds=read_body(SecretRotation, request)["overlap_seconds"])
        with self.scope(request):
            made = services.rotate(actor=self.principal(request).actor, endpoint_id=endpoint_id, overlap=overlap)
            answer = _shown(selectors.endpoint(endpoint_id), secret=made.secret)
        return Response(answer, status=status.HTTP_201_CREATED)


class TestResource(Resource):
    """/v1/webhooks/endpoints/{endpoint_id}/test"""

    rights = {"POST": Right.WEBHOOKS_WRITE}

    @extend_schema(operation_id="test_webhook_endpoint", request=None, responses={202: DeliveryAnswer})
    def post(self, request: Request, endpoint_id: UUID) -> Response:
        """Send a test event, once and within seconds; ask for the delivery to see what came of it."""
        with self.scope(request):
            sent = services.send_test(actor=self.principal(request).actor, endpoint_id=endpoint_id)
        return Response(DeliveryAnswer(sent).data, status=status.HTTP_202_ACCEPTED)


class ReplayResource(Resource):
    """/v1/webhooks/endpoints/{endpoint_id}/replay"""

    rights = {"POST": Right.WEBHOOKS_WRITE}

    @extend_schema(operation_id="replay_webhook_events", request=ReplayWish, responses={202: Replayed})
    def post(self, request: Request, endpoint_id: UUID) -> Response:
        """Send again, in order, everything of a time that the endpoint asks for."""
        values = read_body(ReplayWish, request)
        with self.scope(request):
            count = services.replay(actor=self.principal(request).actor, endpoint_id=endpoint_id, **values)
        return Response({"deliveries": count}, status=status.HTTP_202_ACCEPTED)


class DeliveriesResource(Resource):
    """/v1/webhooks/endpoints/{endpoint_id}/deliveries"""

    rights = {"GET": Right.WEBHOOKS_READ}

    @extend_schema(
        operation_id="list_webhook_deliveries",
        parameters=[DeliveryQuery, *paging.PARAMETERS],
        responses=paged(DeliveryAnswer),
    )
    def get(self, request: Request, endpoint_id: UUID) -> Response:
        """List the deliveries of the last 30 days, newest first."""
        asked = read_query(DeliveryQuery, request)
        limit, before = paging.limit_of(request), paging.cursor_of(request)
        with self.scope(request):
            selectors.endpoint(endpoint_id)
            rows = selectors.deliveries(
                endpoint_id=endpoint_id,
                state=asked.get("state", ""),
                kind=asked.get("type", ""),
                before=before,
                limit=limit + 1,
            )
        return Response(paging.answer(rows, limit, lambda row: row.pk, lambda row: DeliveryAnswer(row).data))


class DeliveryResource(Resource):
    """/v1/webhooks/deliveries/{delivery_id}"""

    rights = {"GET": Right.WEBHOOKS_READ}

    @extend_schema(operation_id="get_webhook_delivery", responses=DeliveryDetail)
    def get(self, request: Request, delivery_id: UUID) -> Response:
        """Get a delivery with what is sent and every attempt."""
        with self.scope(request):
            found = selectors.delivery(delivery_id)
            log = selectors.attempts(delivery_id)
        shown = {"body": orjson.loads(found.event.body), "log": [AttemptAnswer(one).data for one in log]}
        return Response({**DeliveryAnswer(found).data, **shown})


class ResendResource(Resource):
    """/v1/webhooks/deliveries/{delivery_id}/resend"""

    rights = {"POST": Right.WEBHOOKS_WRITE}

    @extend_schema(operation_id="resend_webhook_delivery", request=None, responses={202: DeliveryAnswer})
    def post(self, request: Request, delivery_id: UUID) -> Response:
        """Send an event once more, with the id that it had."""
        with self.scope(request):
            sent = services.resend(actor=self.principal(request).actor, delivery_id=delivery_id)
        return Response(DeliveryAnswer(sent).data, status=status.HTTP_202_ACCEPTED)
