"""The caps that an organization chose for itself, and what it was told."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from billing.plans import Allowance
from billing.quotas import selectors as quotas
from billing.quotas import services as quota_services
from billing.quotas.models import Cap, Level, Notice, Reaction, Span
from billing.selectors.caps import used_of
from capsule_cloud.api import paging
from capsule_cloud.api.resource import Resource, paged, read_body
from tenancy.roles import Right

MOST = 2**53


class CapAnswer(serializers.ModelSerializer[Cap]):
    """A limit that the organization chose for itself, at most the plan's; `used` is what counts towards it so far."""

    used = serializers.SerializerMethodField()

    class Meta:
        model = Cap
        fields = ["id", "allowance", "level", "subject_id", "span", "amount", "used", "reaction", "changed_at"]

    def get_used(self, cap: Cap) -> int:
        """In the period or the day under way."""
        used: dict[UUID, int] = self.context["used"]
        return used[cap.pk]


def _caps(caps: list[Cap]) -> list[dict[str, Any]]:
    context = {"used": used_of(caps)}
    return [CapAnswer(one, context=context).data for one in caps]


class NewCap(serializers.Serializer[Any]):
    """What to limit, and what happens then: warn, throttle, stop or park."""

    allowance = serializers.ChoiceField(choices=[one.value for one in Allowance])
    level = serializers.ChoiceField(choices=Level.choices, default=Level.ORGANIZATION.value)
    subject_id = serializers.UUIDField(required=False, help_text="Of the project or key; not for the organization.")
    span = serializers.ChoiceField(choices=Span.choices, default=Span.PERIOD.value)
    amount = serializers.IntegerField(min_value=0, max_value=MOST)
    reaction = serializers.ChoiceField(choices=Reaction.choices, default=Reaction.STOP.value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A project or key by its id, the organization without one."""
        if (attrs["level"] == Level.ORGANIZATION) == ("subject_id" in attrs):
            raise serializers.ValidationError({"subject_id": "Name the project or the key; nothing else has one here."})
        return attrs


class NoticeAnswer(serializers.ModelSerializer[Notice]):
    """Something that was said to the organization: a threshold, unusual use, a payment that failed."""

    class Meta:
        model = Notice
        fields = ["id", "kind", "sentence", "said_at", "dismissed_at"]


class CapsResource(Resource):
    """/v1/billing/caps"""

    rights = {"GET": Right.BILLING_READ, "POST": Right.BILLING_WRITE}

    @extend_schema(operation_id="list_caps", responses=CapAnswer(many=True))
    def get(self, request: Request) -> Response:
        """List the caps that the organization chose."""
        with self.scope(request):
            return Response(_caps(quotas.caps()))

    @extend_schema(operation_id="set_cap", request=NewCap, responses={200: CapAnswer})
    def post(self, request: Request) -> Response:
        """Set a cap, or change the one on the same thing. It holds within a second."""
        values = read_body(NewCap, request)
        principal = self.principal(request)
        values.setdefault("subject_id", principal.organization_id)
        with self.scope(request):
            return Response(_caps([quota_services.set_cap(actor=principal.actor, **values)])[0])


class CapResource(Resource):
    """/v1/billing/caps/{cap_id}"""

    rights = {"DELETE": Right.BILLING_WRITE}

    @extend_schema(operation_id="clear_cap", responses={204: None})
    def delete(self, request: Request, cap_id: UUID) -> Response:
        """Take a cap away; the plan's own limits stay."""
        with self.scope(request):
            quota_services.clear_cap(actor=self.principal(request).actor, cap_id=cap_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class AlertAnswer(serializers.Serializer[Any]):
    """At which percentages of its caps an allowance is told about; none: never."""

    allowance = serializers.ChoiceField(choices=[one.value for one in Allowance])
    percents = serializers.ListField(child=serializers.IntegerField(min_value=1, max_value=1000), max_length=10)


class AlertsResource(Resource):
    """/v1/billing/alerts"""

    rights = {"GET": Right.BILLING_READ, "POST": Right.BILLING_WRITE}

    @extend_schema(operation_id="list_alerts", responses=AlertAnswer(many=True))
    def get(self, request: Request) -> Response:
        """List at which percentages the organization is told, for every allowance."""
        with self.scope(request):
            chosen = quotas.watches()
        usual = list(quota_services.DEFAULT_PERCENTS)
        return Response([{"allowance": one.value, "percents": chosen.get(one, usual)} for one in Allowance])

    @extend_schema(operation_id="set_alert", request=AlertAnswer, responses={200: AlertAnswer})
    def post(self, request: Request) -> Response:
        """Choose the percentages of one allowance. Each is told once a period, by mail and as a notice."""
        values = read_body(AlertAnswer, request)
        with self.scope(request):
            watch = quota_services.set_watch(actor=self.principal(request).actor, **values)
        return Response({"allowance": watch.allowance, "percents": watch.percents})


class NoticeDismissalResource(Resource):
    """/v1/billing/notices/{notice_id}/dismiss"""

    rights = {"POST": Right.BILLING_WRITE}

    @extend_schema(operation_id="dismiss_notice", request=None, responses={204: None})
    def post(self, request: Request, notice_id: UUID) -> Response:
        """Put a notice away, for everybody."""
        with self.scope(request):
            quota_services.dismiss(actor=self.principal(request).actor, notice_id=notice_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class NoticesResource(Resource):
    """/v1/billing/notices"""

    rights = {"GET": Right.BILLING_READ}

    @extend_schema(operation_id="list_notices", parameters=paging.PARAMETERS, responses=paged(NoticeAnswer))
    def get(self, request: Request) -> Response:
        """List the newest 200 notices, newest first."""
        with self.scope(request):
            rows = quotas.notices(limit=200, with_dismissed=True)
        show = paging.page(request, rows, lambda row: row.pk, lambda row: NoticeAnswer(row).data, newest_first=True)
        return Response(show)
