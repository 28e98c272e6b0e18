"""Raw usage events: the rows behind every sum, and the way in for data planes that run elsewhere."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.metering import ids, selectors
from billing.metering.meters import COUNTERS, Meter
from billing.metering.models import UsageEvent
from billing.metering.services import reports
from billing.plans import Allowance, Feature
from billing.quotas import reported
from billing.quotas.services import plan_page
from capsule_cloud.api import paging
from capsule_cloud.api.errors import ApiError, flat_errors
from capsule_cloud.api.receipts import REMAINING
from capsule_cloud.api.resource import Resource, StrictJson, paged, read_query
from capsule_cloud.api.usage import check_moment
from tenancy.roles import Right

LONGEST, DEFAULT_SPAN = timedelta(days=31), timedelta(days=1)
MOST_REPORTS = 500  # in a batch
EVENT_TYPE = "capsule.usage"
NO_DATA_PLANES = (
    "Your plan has no data planes of your own, and nothing was counted. Keep the events: once the plan is changed, "
    f"those of the {ids.OLDEST.days} days before are taken. Change it"
)
STATUSES = ("accepted", "duplicate", "rejected")


class UsageEventsQuery(serializers.Serializer[Any]):
    """Which events."""

    since = serializers.DateTimeField(required=False, help_text="Inclusive. Default: a day before `until`.")
    until = serializers.DateTimeField(required=False, help_text="Exclusive. Default: now.")
    project_id = serializers.UUIDField(required=False)
    key_id = serializers.UUIDField(required=False)
    meter = serializers.ChoiceField(choices=Meter.choices, required=False)
    end_user = serializers.CharField(required=False, max_length=255)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A span of time of at most LONGEST."""
        until = attrs.setdefault("until", timezone.now())
        for name in ("since", "until"):
            if name in attrs:
                check_moment(name, attrs[name])
        attrs.setdefault("since", until - DEFAULT_SPAN)
        if not timedelta(0) <= until - attrs["since"] <= LONGEST:
            raise serializers.ValidationError({"since": f"Choose a span of 0 to {LONGEST.days} days."})
        return attrs


class UsageEventAnswer(serializers.Serializer[UsageEvent]):
    """One counted operation, or for a gauge a daily sample."""

    id = serializers.UUIDField(help_text="As `X-Usage-Event` said.")
    project_id = serializers.UUIDField(help_text="All zeros for seats, which are of no project.")
    key_id = serializers.UUIDField(allow_null=True, help_text="Null where no key was used.")
    meter = serializers.CharField()
    quantity = serializers.IntegerField(help_text="Below zero for a correction.")
    end_user = serializers.CharField(allow_blank=True)
    occurred_at = serializers.DateTimeField()


class CloudEventsBatch(StrictJson):
    """The batch format of CloudEvents' JSON."""

    media_type = "application/cloudevents-batch+json"


class ReportedUse(serializers.Serializer[Any]):
    """What was used."""

    meter = serializers.ChoiceField(choices=[(meter.value, meter.label) for meter in Meter if meter in COUNTERS])
    quantity = serializers.IntegerField(min_value=1, max_value=reports.LARGEST_REPORT)
    project_id = serializers.UUIDField(required=False, help_text="The key's project, which it is without this too.")
    end_user = serializers.CharField(required=False, default="", allow_blank=True, max_length=255)


class UsageReport(serializers.Serializer[Any]):
    """A CloudEvent 1.0. Other attributes are allowed, and ignored."""

    specversion = serializers.ChoiceField(choices=["1.0"])
    type = serializers.ChoiceField(choices=[EVENT_TYPE])
    source = serializers.CharField(max_length=255, help_text="Which data plane.")  # type: ignore[assignment]  # CloudEvents' name, and DRF's own attribute
    id = serializers.CharField(max_length=255, help_text="Unique in its source: sent again, it counts once.")
    time = serializers.DateTimeField(help_text="When it happened: in the last 35 days.")
    data = ReportedUse()  # type: ignore[assignment]  # likewise

    def validate_time(self, value: datetime) -> datetime:
        """A time that may be counted."""
        try:
            reports.check_time(value)
        except reports.BadTime as error:
            raise serializers.ValidationError(str(error)) from error
        return value

    def validate_data(self, value: dict[str, Any]) -> dict[str, Any]:
        """Of the key's project."""
        if value.get("project_id", self.context["project_id"]) != self.context["project_id"]:
            raise serializers.ValidationError({"project_id": "The key is of another project."})
        return value


class ReportProblem(serializers.Serializer[Any]):
    """What is wrong with a value of an event."""

    field = serializers.CharField()
    message = serializers.CharField()


class ReportResult(serializers.Serializer[Any]):
    """What became of the event that stood at this place of the batch."""

    status = serializers.ChoiceField(choices=STATUSES)
    event_id = serializers.UUIDField(allow_null=True, help_text="The usage event; null for a rejected one.")
    errors = ReportProblem(many=True)  # type: ignore[assignment]  # called as DRF's own attribute


class RemainingAnswer(serializers.Serializer[Any]):
    """What is left in this billing period, or today where that is less, for all keys; null: nothing limits it."""

    operations = serializers.IntegerField(allow_null=True)
    documents = serializers.IntegerField(allow_null=True)
    end_users = serializers.IntegerField(allow_null=True)


class ReportsAnswer(serializers.Serializer[Any]):
    """How many became what, each event's result in the order of the batch, and what is left after it."""

    accepted = serializers.IntegerField()
    duplicate = serializers.IntegerField()
    rejected = serializers.IntegerField()
    results = ReportResult(many=True)
    remaining = RemainingAnswer()


class UsageEventsResource(Resource):
    """/v1/usage/events"""

    rights = {"GET": Right.USAGE_READ, "POST": Right.MEMORY_WRITE}
    ways_out = frozenset({"POST"})  # it has happened, and is owed whether it is told or not
    parser_classes = [StrictJson, CloudEventsBatch]

    @extend_schema(
        operation_id="list_usage_events",
        parameters=[UsageEventsQuery, *paging.PARAMETERS],
        responses=paged(UsageEventAnswer),
    )
    def get(self, request: Request) -> Response:
        """List the events behind the sums, in the order of their ids. Each counted once, however often it was sent.

        Give `until` with a cursor, so that all pages are of the same time.
        """
        query = read_query(UsageEventsQuery, request)
        limit, after = paging.limit_of(request), paging.cursor_of(request)
        with self.scope(request):
            page = selectors.events(after=after, limit=limit, **query)
        cursor = None if page.after is None else paging.encode(page.after)
        return Response({"data": [UsageEventAnswer(event).data for event in page.events], "next_cursor": cursor})

    @extend_schema(
        operation_id="report_usage_events",
        request={kind.media_type: UsageReport(many=True) for kind in parser_classes},
        responses=ReportsAnswer,
    )
    def post(self, request: Request) -> Response:
        """Report what a data plane of yours counted, as a batch of 1 to 500 CloudEvents. Each event stands for itself.

        A wrong one is rejected and changes nothing; the others count, also past a cap: they have happened. Sent again,
        an event is a duplicate, and counts once for ever. Neither an overdue invoice nor the end of the plan closes
        this: who has had data planes of their own may go on telling what happened there.
        """
        principal = self.principal(request)
        with self.scope(request):
            is_known = Feature.DATA_PLANES in principal.features or reported.is_known()
        if not is_known:
            detail = f"{NO_DATA_PLANES}: {plan_page(principal.organization_id)}"
            raise ApiError("feature_not_in_plan", detail)
        batch = request.data
        if not isinstance(batch, list) or not 1 <= len(batch) <= MOST_REPORTS:
            raise ApiError("invalid", f"Send a list of 1 to {MOST_REPORTS} events.")
        context = {"project_id": principal.project_id}
        checked = [UsageReport(data=one, context=context) for one in batch]
        good = [_report(one.validated_data) for one in checked if one.is_valid()]
        with self.scope(request):
            done = reported.take(project_id=principal.project_id, key_id=principal.key_id, reports=good)
        taken = iter(done.taken)
        results = [_rejected(one) if one.errors else _counted(next(taken)) for one in checked]
        counts = {status: sum(one["status"] == status for one in results) for status in STATUSES}
        operations = done.remaining[Allowance.OPERATIONS]
        headers = {} if operations is None else {REMAINING: str(operations)}
        return Response(counts | {"results": results, "remaining": done.remaining}, headers=headers)


def _report(values: dict[str, Any]) -> reports.Report:
    use = values["data"]
    return reports.Report(
        source=values["source"],
        name=values["id"],
        meter=Meter(use["meter"]),
        quantity=use["quantity"],
        end_user=use["end_user"],
        occurred_at=values["time"],
    )


def _counted(taken: reports.Taken) -> dict[str, Any]:
    return {"status": "accepted" if taken.is_new else "duplicate", "event_id": taken.event_id, "errors": []}


def _rejected(one: UsageReport) -> dict[str, Any]:
    return {"status": "rejected", "event_id": None, "errors": list(flat_errors(one.errors))}
