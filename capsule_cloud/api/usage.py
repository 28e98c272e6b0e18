"""What the organization used."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.metering import selectors
from billing.metering.meters import Meter
from capsule_cloud.api.resource import Resource, read_query
from tenancy.roles import Right

LONGEST = {"hour": timedelta(days=31), "day": timedelta(days=400), "month": timedelta(days=3660)}
DEFAULT_SPAN = {"hour": timedelta(days=1), "day": timedelta(days=30), "month": timedelta(days=365)}


EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class UsageQuery(serializers.Serializer[Any]):
    """Which usage."""

    since = serializers.DateTimeField(required=False, help_text="Inclusive. Default: a day, 30 days or a year ago.")
    until = serializers.DateTimeField(required=False, help_text="Exclusive. Default: now.")
    grain = serializers.ChoiceField(choices=list(selectors.GRAINS), default="day")
    group_by = serializers.CharField(
        default="meter", max_length=40, help_text=f"Comma-separated: {', '.join(selectors.GROUPS)}."
    )
    project_id = serializers.UUIDField(required=False)
    key_id = serializers.UUIDField(required=False)
    meter = serializers.ChoiceField(
        choices=Meter.choices,
        required=False,
        help_text="Gauges (stored_bytes, active_end_user, seat) are in the answer only when named here.",
    )
    end_user = serializers.CharField(required=False, max_length=255)

    def validate_group_by(self, value: str) -> list[str]:
        """A list of known groups."""
        names = [name.strip() for name in value.split(",")]
        if not set(names) <= set(selectors.GROUPS):
            raise serializers.ValidationError(f"Choose from: {', '.join(selectors.GROUPS)}.")
        return names

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A span of time, not too long for its grain."""
        grain = attrs["grain"]
        until = attrs.setdefault("until", timezone.now())
        for name in ("since", "until"):
            if name in attrs and not EARLIEST <= attrs[name] <= LATEST:
                raise serializers.ValidationError({name: f"Choose a time from {EARLIEST.year} to {LATEST.year}."})
        if "since" not in attrs:
            attrs["since"] = until - DEFAULT_SPAN[grain]
        span = until - attrs["since"]
        if not timedelta(0) <= span <= LONGEST[grain]:
            days = LONGEST[grain].days
            raise serializers.ValidationError({"since": f"Choose a span of 0 to {days} days for the grain {grain}."})
        return attrs


class UsagePointAnswer(serializers.Serializer[Any]):
    """The sum of one group over one UTC hour, day or month; a group's columns are there when it was asked for."""

    at = serializers.DateTimeField()
    meter = serializers.CharField(required=False)
    project_id = serializers.UUIDField(required=False)
    key_id = serializers.UUIDField(required=False, allow_null=True)
    end_user = serializers.CharField(required=False)
    quantity = serializers.IntegerField()


class UsageAnswer(serializers.Serializer[Any]):
    """Usage in time order."""

    as_of = serializers.DateTimeField(help_text="Reads of the last few seconds before this may still be missing.")
    data = UsagePointAnswer(many=True)  # type: ignore[assignment]  # called as DRF's own attribute


class UsageResource(Resource):
    """/v1/usage"""

    rights = {"GET": Right.USAGE_READ}

    @extend_schema(operation_id="get_usage", parameters=[UsageQuery], responses=UsageAnswer)
    def get(self, request: Request) -> Response:
        """Sum what was used, by time and by meter, project, key or end user."""
        query = read_query(UsageQuery, request)
        with self.scope(request):
            try:
                usage = selectors.usage(**query)
            except selectors.TooManyPoints as error:
                raise serializers.ValidationError(
                    {"group_by": f"{error} Choose a shorter span, a coarser grain or fewer groups."}
                ) from error
        points = [
            {"at": point.at, "quantity": point.quantity}
            | {selectors.GROUPS[name]: value for name, value in point.group.items()}
            for point in usage.points
        ]
        return Response({"as_of": usage.as_of, "data": points})
