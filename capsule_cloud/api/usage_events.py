"""Raw usage events, the rows behind every sum."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.metering import selectors
from billing.metering.meters import Meter
from billing.metering.models import UsageEvent
from capsule_cloud.api import paging
from capsule_cloud.api.resource import Resource, paged, read_query
from capsule_cloud.api.usage import check_moment
from tenancy.roles import Right

LONGEST, DEFAULT_SPAN = timedelta(days=31), timedelta(days=1)


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


class UsageEventsResource(Resource):
    """/v1/usage/events"""

    rights = {"GET": Right.USAGE_READ}

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
