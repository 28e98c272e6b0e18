"""Streams of the audit trail: targets, how far they are, their logs, and events that were set aside."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.resource import Resource, paged, read_body, read_query
from tenancy.audit.streams import selectors, services
from tenancy.audit.streams.kinds import KINDS
from tenancy.audit.streams.models import DeadLetter, Delivery, Kind, Stream
from tenancy.roles import Right
from tenancy.webhooks.services import DEFAULT_OVERLAP, MAX_OVERLAP

STATES = ["active", "failing", "paused", "disabled"]


def _words(what: str) -> str:
    return "; ".join(f"{name}: {', '.join(getattr(kind, what)) or 'none'}" for name, kind in KINDS.items())


class StreamChange(serializers.Serializer[Any]):
    """What is to change; where the stream leads cannot change without its secrets."""

    name = serializers.CharField(required=False, max_length=64)
    options = serializers.DictField(
        required=False, child=serializers.CharField(allow_blank=True, max_length=10_000), help_text=_words("options")
    )
    secrets = serializers.DictField(
        required=False, child=serializers.CharField(allow_blank=True, max_length=5_000), help_text=_words("secrets")
    )
    has_ocsf = serializers.BooleanField(
        required=False, help_text="Whether each event comes in OCSF 1.3, too, beside its exact body."
    )
    has_people = serializers.BooleanField(
        required=False, help_text="Whether each event says whom its pseudonyms stand for."
    )


class NewStream(StreamChange):
    """A target that the trail is sent to. Its secrets are never shown again."""

    name = serializers.CharField(max_length=64)
    kind = serializers.ChoiceField(choices=Kind.values)
    options = serializers.DictField(
        child=serializers.CharField(allow_blank=True, max_length=10_000), help_text=_words("options")
    )
    secrets = serializers.DictField(
        default=dict, child=serializers.CharField(allow_blank=True, max_length=5_000), help_text=_words("secrets")
    )
    has_ocsf = serializers.BooleanField(default=False, help_text="As in a change.")
    has_people = serializers.BooleanField(default=True, help_text="As in a change.")
    from_beginning = serializers.BooleanField(
        default=False, help_text="Whether it begins with the trail's first event; else with what is sealed from now on."
    )


class StreamAnswer(serializers.ModelSerializer[Stream]):
    """A target of the trail, how far it is, and how it fares."""

    options = serializers.DictField(child=serializers.CharField())
    state = serializers.ChoiceField(choices=STATES, source="condition")
    behind = serializers.IntegerField(help_text="Sealed events that it has not been sent.")
    seconds_behind = serializers.FloatField(help_text="How long ago the first of them was recorded.")
    set_aside = serializers.IntegerField(help_text="Events that it refused, up to 1,000.")
    public_key = serializers.CharField(
        allow_blank=True, help_text="Verifies the asymmetric signature (v1a) of a webhook; empty for other kinds."
    )
    retry_at = serializers.DateTimeField(source="due_at", help_text="When a failing stream is tried again.")

    class Meta:
        model = Stream
        fields = [
            *("id", "name", "kind", "options", "has_ocsf", "has_people", "state", "state_reason", "state_since"),
            *("next_seq", "sent", "behind", "seconds_behind", "set_aside", "failures", "failing_since", "retry_at"),
            *("last_success_at", "public_key", "previous_until", "created_at"),
        ]


class NewStreamAnswer(StreamAnswer):
    """A stream with the secret that signs what a webhook gets: it is shown here once."""

    secret = serializers.CharField(allow_blank=True)

    class Meta(StreamAnswer.Meta):
        fields = [*StreamAnswer.Meta.fields, "secret"]


class StreamRotation(serializers.Serializer[Any]):
    """How long both secrets sign."""

    overlap_seconds = serializers.IntegerField(
        min_value=0,
        max_value=int(MAX_OVERLAP.total_seconds()),
        default=int(DEFAULT_OVERLAP.total_seconds()),
        help_text="0 ends the old one at once.",
    )


class StreamReplay(serializers.Serializer[Any]):
    """Where the stream goes on: one of the two."""

    seq = serializers.IntegerField(required=False, min_value=0, help_text="A place of the trail.")
    since = serializers.DateTimeField(required=False, help_text="The first event from then on.")


class StreamDeliveryQuery(serializers.Serializer[Any]):
    """Which attempts."""

    has_arrived = serializers.BooleanField(required=False, allow_null=True, default=None)


class StreamDeliveryAnswer(serializers.ModelSerializer[Delivery]):
    """One attempt to send a batch; `code` says why there was no answer."""

    class Meta:
        model = Delivery
        fields = [
            *("id", "reason", "first", "count", "bytes", "started_at", "milliseconds", "status", "code", "sentence"),
            *("answer", "has_arrived"),
        ]


class DeadLetterAnswer(serializers.ModelSerializer[DeadLetter]):
    """An event that the target refused while it took others."""

    class Meta:
        model = DeadLetter
        fields = ["id", "seq", "event_id", "status", "sentence", "created_at", "resent_at"]


def _shown(health: selectors.Health) -> dict[str, Any]:
    for name in ("behind", "seconds_behind", "set_aside", "public_key"):
        setattr(health.stream, name, getattr(health, name))
    return dict(StreamAnswer(health.stream).data)


class StreamsResource(Resource):
    """/v1/audit/streams"""

    rights = {"GET": Right.AUDIT_EXPORT, "POST": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="list_audit_streams", parameters=paging.PARAMETERS, responses=paged(StreamAnswer))
    def get(self, request: Request) -> Response:
        """List streams, the oldest first."""
        with self.scope(request):
            rows = selectors.streams()
        return Response(paging.page(request, rows, lambda row: row.stream.pk, _shown))

    @extend_schema(operation_id="create_audit_stream", request=NewStream, responses={201: NewStreamAnswer})
    def post(self, request: Request) -> Response:
        """Have the trail sent to a target, in order and at least once."""
        values = read_body(NewStream, request)
        with self.scope(request):
            made = services.create(actor=self.principal(request).actor, **values)
            answer = {**_shown(selectors.stream(made.stream.pk)), "secret": made.secret}
        return Response(answer, status=status.HTTP_201_CREATED)


class StreamResource(Resource):
    """/v1/audit/streams/{audit_stream_id}"""

    rights = {"GET": Right.AUDIT_EXPORT, "PATCH": Right.AUDIT_EXPORT, "DELETE": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="get_audit_stream", responses=StreamAnswer)
    def get(self, request: Request, audit_stream_id: UUID) -> Response:
        """Get a stream."""
        with self.scope(request):
            return Response(_shown(selectors.stream(audit_stream_id)))

    @extend_schema(operation_id="update_audit_stream", request=StreamChange, responses=StreamAnswer)
    def patch(self, request: Request, audit_stream_id: UUID) -> Response:
        """Change a stream; a secret that is left out stays."""
        values = read_body(StreamChange, request)
        with self.scope(request):
            services.update(actor=self.principal(request).actor, stream_id=audit_stream_id, **values)
            return Response(_shown(selectors.stream(audit_stream_id)))

    @extend_schema(operation_id="delete_audit_stream", responses={204: None})
    def delete(self, request: Request, audit_stream_id: UUID) -> Response:
        """Delete a stream with its secrets and its log."""
        with self.scope(request):
            services.delete(actor=self.principal(request).actor, stream_id=audit_stream_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class StreamPauseResource(Resource):
    """/v1/audit/streams/{audit_stream_id}/pause"""

    rights = {"POST": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="pause_audit_stream", request=None, responses=StreamAnswer)
    def post(self, request: Request, audit_stream_id: UUID) -> Response:
        """Send a stream nothing for a while; its place is kept."""
        with self.scope(request):
            services.pause(actor=self.principal(request).actor, stream_id=audit_stream_id)
            return Response(_shown(selectors.stream(audit_stream_id)))


class StreamResumeResource(Resource):
    """/v1/audit/streams/{audit_stream_id}/resume"""

    rights = {"POST": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="resume_audit_stream", request=None, responses=StreamAnswer)
    def post(self, request: Request, audit_stream_id: UUID) -> Response:
        """Let a stream go on where it was; one that fails is tried at once."""
        with self.scope(request):
            services.resume(actor=self.principal(request).actor, stream_id=audit_stream_id)
            return Response(_shown(selectors.stream(audit_stream_id)))


class StreamRotationResource(Resource):
    """/v1/audit/streams/{audit_stream_id}/rotate"""

    rights = {"POST": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="rotate_audit_stream_secret", request=StreamRotation, responses={201: NewStreamAnswer})
    def post(self, request: Request, audit_stream_id: UUID) -> Response:
        """Make a new secret for a webhook, shown here once. Both sign until the overlap is over."""
        overlap = timedelta(seconds=read_body(StreamRotation, request)["overlap_seconds"])
        with self.scope(request):
            made = services.rotate(actor=self.principal(request).actor, stream_id=audit_stream_id, overlap=overlap)
            answer = {**_shown(selectors.stream(audit_stream_id)), "secret": made.secret}
        return Response(answer, status=status.HTTP_201_CREATED)


class StreamReplayResource(Resource):
    """/v1/audit/streams/{audit_stream_id}/replay"""

    rights = {"POST": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="replay_audit_stream", request=StreamReplay, responses={202: StreamAnswer})
    def post(self, request: Request, audit_stream_id: UUID) -> Response:
        """Go on from a place of the trail: back to send again, or forth to leave out."""
        values = read_body(StreamReplay, request)
        with self.scope(request):
            services.replay(actor=self.principal(request).actor, stream_id=audit_stream_id, **values)
            return Response(_shown(selectors.stream(audit_stream_id)), status=status.HTTP_202_ACCEPTED)


class StreamTestResource(Resource):
    """/v1/audit/streams/{audit_stream_id}/test"""

    rights = {"POST": Right.AUDIT_EXPORT}
    calls_out = True

    @extend_schema(operation_id="test_audit_stream", request=None, responses=StreamDeliveryAnswer)
    def post(self, request: Request, audit_stream_id: UUID) -> Response:
        """Send a sentence that is no event, whatever the stream's state, and say what came of it."""
        who = self.principal(request)
        sent = services.test(actor=who.actor, organization_id=who.organization_id, stream_id=audit_stream_id)
        return Response(StreamDeliveryAnswer(sent).data)


class StreamDeliveriesResource(Resource):
    """/v1/audit/streams/{audit_stream_id}/deliveries"""

    rights = {"GET": Right.AUDIT_EXPORT}

    @extend_schema(
        operation_id="list_audit_stream_deliveries",
        parameters=[StreamDeliveryQuery, *paging.PARAMETERS],
        responses=paged(StreamDeliveryAnswer),
    )
    def get(self, request: Request, audit_stream_id: UUID) -> Response:
        """List the newest attempts: a thousand, of at most 30 days."""
        asked = read_query(StreamDeliveryQuery, request)
        limit, before = paging.limit_of(request), paging.cursor_of(request)
        with self.scope(request):
            selectors.found(audit_stream_id)
            rows = selectors.deliveries(
                stream_id=audit_stream_id, has_arrived=asked["has_arrived"], before=before, limit=limit + 1
            )
        return Response(paging.answer(rows, limit, lambda row: row.pk, lambda row: StreamDeliveryAnswer(row).data))


class DeadLettersResource(Resource):
    """/v1/audit/streams/{audit_stream_id}/dead-letters"""

    rights = {"GET": Right.AUDIT_EXPORT}

    @extend_schema(
        operation_id="list_audit_stream_dead_letters", parameters=paging.PARAMETERS, responses=paged(DeadLetterAnswer)
    )
    def get(self, request: Request, audit_stream_id: UUID) -> Response:
        """List events that were set aside in the last 90 days, newest first."""
        limit, before = paging.limit_of(request), paging.cursor_of(request)
        with self.scope(request):
            selectors.found(audit_stream_id)
            rows = selectors.dead_letters(stream_id=audit_stream_id, before=before, limit=limit + 1)
        return Response(paging.answer(rows, limit, lambda row: row.pk, lambda row: DeadLetterAnswer(row).data))


class DeadLetterResendResource(Resource):
    """/v1/audit/dead-letters/{dead_letter_id}/resend"""

    rights = {"POST": Right.AUDIT_EXPORT}
    calls_out = True

    @extend_schema(operation_id="resend_audit_stream_dead_letter", request=None, responses=StreamDeliveryAnswer)
    def post(self, request: Request, dead_letter_id: UUID) -> Response:
        """Send an event that was set aside once more, out of order, and say what came of it."""
        who = self.principal(request)
        sent = services.resend(actor=who.actor, organization_id=who.organization_id, letter_id=dead_letter_id)
        return Response(StreamDeliveryAnswer(sent).data)
