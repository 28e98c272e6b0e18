"""What the organization used: as JSON for charts, as CSV for spreadsheets."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from billing.metering import selectors
from billing.metering.export import Wanted, csv_lines
from billing.metering.meters import Meter
from capsule_cloud.api.resource import Resource, read_query
from tenancy.roles import Right

LONGEST = {"hour": timedelta(days=31), "day": timedelta(days=400), "month": timedelta(days=3660)}
DEFAULT_SPAN = {"hour": timedelta(days=1), "day": timedelta(days=30), "month": timedelta(days=365)}
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class Csv(BaseRenderer):
    """Names the second form of the answer, which the view writes itself, line by line."""

    media_type, format, charset = "text/csv", "csv", "utf-8"


class ByFormat(DefaultContentNegotiation):
    """As `Accept` says, unless `?format=` does: it is for links, whose browsers accept something else."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The renderer and its media type. Raises ValidationError for an unknown `format`, or NotAcceptable."""
        wanted = request.query_params.get("format")
        if wanted is None:
            accepted: tuple[BaseRenderer, str] = super().select_renderer(request, renderers, format_suffix)
            return accepted
        for renderer in renderers:
            if renderer.format == wanted:
                return renderer, str(renderer.media_type)
        raise serializers.ValidationError(
            {"format": f"Choose from: {', '.join(str(one.format) for one in renderers)}."}
        )


def check_moment(name: str, moment: datetime) -> None:
    """Raise ValidationError for a time in a query that arithmetic could leave the calendar with."""
    if not EARLIEST <= moment <= LATEST:
        raise serializers.ValidationError({name: f"Choose a time from {EARLIEST.year} to {LATEST.year}."})


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
            if name in attrs:
                check_moment(name, attrs[name])
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
    renderer_classes = [JSONRenderer, Csv]
    content_negotiation_class = ByFormat

    @extend_schema(
        operation_id="get_usage",
        parameters=[
            UsageQuery,
            OpenApiParameter(
                "format",
                OpenApiTypes.STR,
                enum=[JSONRenderer.format, Csv.format],
                default=JSONRenderer.format,
                description="Goes before `Accept`. As CSV: as many lines as there are, each with its `as_of`.",
            ),
        ],
        responses={(200, JSONRenderer.media_type): UsageAnswer, (200, Csv.media_type): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        """Sum what was used, by time and by meter, project, key or end user. `Accept: text/csv` gets a file."""
        query = read_query(UsageQuery, request)
        if isinstance(request.accepted_renderer, Csv):
            return self._file(request, query)
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

    def _file(self, request: Request, query: dict[str, Any]) -> StreamingHttpResponse:
        meter = query.pop("meter", None)
        wanted = Wanted(**query | {"group_by": tuple(query["group_by"])}, meters=(meter,) if meter else ())
        lines = csv_lines(self.principal(request).organization_id, wanted)
        name = f"usage_as_of_{timezone.now():%Y%m%dT%H%M%SZ}.csv"
        return StreamingHttpResponse(
            lines,
            content_type=f"{Csv.media_type}; charset={Csv.charset}",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
