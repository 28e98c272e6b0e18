"""Exports of the audit trail, their files, the stores that they go to, and their schedules."""

from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.conf import settings
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.resource import Resource, paged, read_body
from capsule_cloud.lib import downloads, storage
from tenancy.audit.exports import scheduling, selectors, services, targets
from tenancy.audit.exports.models import Compression, Export, Format, Schedule, Target
from tenancy.audit.exports.services import Wish
from tenancy.roles import Right

RANGE = OpenApiParameter(
    "Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="`bytes=1000-`: goes on there."
)


class WishFields(serializers.Serializer[Any]):
    """What is wanted of the trail, and as what."""

    format = serializers.ChoiceField(choices=Format.values, default=Format.JSONL)
    compression = serializers.ChoiceField(
        choices=Compression.values, default=Compression.NONE, help_text="Parquet compresses inside, whatever this says."
    )
    action = serializers.CharField(required=False, max_length=64, help_text="From the start: `organization.member`.")
    actor = serializers.CharField(required=False, max_length=255, help_text="An id, or a part of a name.")
    target = serializers.CharField(required=False, max_length=255, help_text="An id, or a part of a name.")
    has_people = serializers.BooleanField(
        default=True, help_text="Whether a file beside the events says whom their pseudonyms stand for."
    )


class NewExport(WishFields):
    """An export of everything that is sealed, or of a time."""

    since = serializers.DateTimeField(required=False, help_text="Inclusive.")
    until = serializers.DateTimeField(required=False, help_text="Exclusive.")
    target_id = serializers.UUIDField(required=False, help_text="A store that it is put into as well.")


class ExportFile(serializers.Serializer[Any]):
    """A file of an export."""

    name = serializers.CharField()
    holds = serializers.ChoiceField(choices=["events", "names", "hashes", "manifest"])
    bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
    url = serializers.CharField(help_text="Send a key with it. It is good until `url_expires_at`; then ask again.")
    url_expires_at = serializers.DateTimeField()


class ExportAnswer(serializers.ModelSerializer[Export]):
    """A part of the trail on its way into files, or in them."""

    target = serializers.CharField(source="on", allow_blank=True)
    target_id = serializers.UUIDField(allow_null=True, help_text="The store that it is put into.")
    schedule_id = serializers.UUIDField(allow_null=True)
    progress = serializers.IntegerField(source="percent", help_text="0 to 100.")
    events = serializers.IntegerField(source="rows")
    first_place = serializers.IntegerField(source="first", allow_null=True, help_text="In the trail; inclusive.")
    last_place = serializers.IntegerField(source="last", allow_null=True, help_text="In the trail; exclusive.")

    class Meta:
        model = Export
        fields = [
            *("id", "state", "failure", "format", "compression", "action", "actor", "target", "since", "until"),
            *("has_people", "target_id", "schedule_id", "progress", "events", "first_place", "last_place"),
            *("checkpoint_size", "sent_at", "send_failure", "created_at", "started_at", "ready_at", "expires_at"),
        ]


class ExportDetail(ExportAnswer):
    """An export with its files, the manifest last."""

    files = ExportFile(many=True)

    class Meta(ExportAnswer.Meta):
        fields = [*ExportAnswer.Meta.fields, "files"]


def _wish(values: dict[str, Any]) -> Wish:
    """What remains is the service's own."""
    return Wish(
        form=values.pop("format"),
        compression=values.pop("compression"),
        has_people=values.pop("has_people"),
        **{name: values.pop(name, "") for name in ("action", "actor", "target")},
    )


def _shown(export: Export) -> dict[str, Any]:
    files = []
    for one in export.files if selectors.is_offered(export) else ():
        link, until = selectors.link_to(export, one["name"])
        path = f"/v1/audit/exports/{export.pk}/files/{quote(one['name'])}?link={link}"
        files.append({**one, "url": f"{settings.PUBLIC_URL}{path}", "url_expires_at": until})
    return {**ExportAnswer(export).data, "files": ExportFile(files, many=True).data}


class ExportsResource(Resource):
    """/v1/audit/exports"""

    rights = {"GET": Right.AUDIT_EXPORT, "POST": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="list_audit_exports", parameters=paging.PARAMETERS, responses=paged(ExportAnswer))
    def get(self, request: Request) -> Response:
        """List exports, newest first."""
        limit, before = paging.limit_of(request), paging.cursor_of(request)
        with self.scope(request):
            rows = selectors.exports(before=before, limit=limit + 1)
            return Response(paging.answer(rows, limit, lambda row: row.pk, lambda row: ExportAnswer(row).data))

    @extend_schema(operation_id="create_audit_export", request=NewExport, responses={202: ExportDetail})
    def post(self, request: Request) -> Response:
        """Have the trail written into a file. Ask for the export until it is ready."""
        values = read_body(NewExport, request)
        with self.scope(request):
            made = services.request(actor=self.principal(request).actor, wish=_wish(values), **values)
            return Response(_shown(made), status=status.HTTP_202_ACCEPTED)


class ExportResource(Resource):
    """/v1/audit/exports/{audit_export_id}"""

    rights = {"GET": Right.AUDIT_EXPORT, "DELETE": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="get_audit_export", responses=ExportDetail)
    def get(self, request: Request, audit_export_id: UUID) -> Response:
        """Get an export; once it is ready, with fresh links to its files."""
        with self.scope(request):
            return Response(_shown(selectors.export(audit_export_id)))

    @extend_schema(operation_id="delete_audit_export", responses={204: None})
    def delete(self, request: Request, audit_export_id: UUID) -> Response:
        """Cancel an export that is under way; delete the files of one that is written."""
        actor = self.principal(request).actor
        with self.scope(request):
            end = services.delete if selectors.export(audit_export_id).is_written else services.cancel
            end(actor=actor, export_id=audit_export_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class SendResource(Resource):
    """/v1/audit/exports/{audit_export_id}/send"""

    rights = {"POST": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="send_audit_export", request=None, responses={202: ExportDetail})
    def post(self, request: Request, audit_export_id: UUID) -> Response:
        """Put an export into its store once more."""
        with self.scope(request):
            sent = services.send_again(actor=self.principal(request).actor, export_id=audit_export_id)
            return Response(_shown(sent), status=status.HTTP_202_ACCEPTED)


class FileResource(Resource):
    """/v1/audit/exports/{audit_export_id}/files/{name}"""

    rights = {"GET": Right.AUDIT_EXPORT}

    @extend_schema(
        operation_id="download_audit_export",
        parameters=[
            OpenApiParameter("link", OpenApiTypes.STR, required=True, description="As in `url`."),
            RANGE,
        ],
        responses={
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
            (206, "application/octet-stream"): OpenApiTypes.BINARY,
            416: OpenApiResponse(description="The file has no such bytes."),
            (503, "text/plain"): OpenApiResponse(OpenApiTypes.STR, "Too many downloads are under way: try again soon."),
        },
    )
    def get(self, request: Request, audit_export_id: UUID, name: str) -> HttpResponseBase:
        """Download a file of an export, or go on with it by `Range`."""
        with self.scope(request):
            stored = selectors.file(audit_export_id, name, request.query_params.get("link", ""))
            if downloads.is_beginning(request._request):
                services.note_download(actor=self.principal(request).actor, export=stored.export, name=name)
        return downloads.answer(request._request, name=name, size=stored.size, sha256=stored.sha256, read=stored.read)


class TargetAnswer(serializers.ModelSerializer[Target]):
    """A store of yours. Its secrets are never shown."""

    kind = serializers.ChoiceField(choices=list(storage.KINDS))
    options = serializers.DictField(child=serializers.CharField())
    is_failing = serializers.BooleanField(help_text="Whether the last thing that was tried failed.")

    class Meta:
        model = Target
        fields = ["id", "name", "kind", "options", "is_failing", "worked_at", "failed_at", "failure", "created_at"]


def _words(kinds: str) -> str:
    return "; ".join(f"{name}: {', '.join(getattr(kind, kinds))}" for name, kind in storage.KINDS.items())


class TargetChange(serializers.Serializer[Any]):
    """What is to change; where the store lies cannot change without its secrets."""

    name = serializers.CharField(required=False, max_length=64)
    options = serializers.DictField(
        required=False, child=serializers.CharField(allow_blank=True, max_length=2048), help_text=_words("options")
    )
    secrets = serializers.DictField(
        required=False, child=serializers.CharField(allow_blank=True, max_length=5000), help_text=_words("secrets")
    )


class NewTarget(TargetChange):
    """A store that exports are put into."""

    name = serializers.CharField(max_length=64)
    kind = serializers.ChoiceField(choices=list(storage.KINDS))
    options = serializers.DictField(
        child=serializers.CharField(allow_blank=True, max_length=2048), help_text=_words("options")
    )
    secrets = serializers.DictField(
        default=dict, child=serializers.CharField(allow_blank=True, max_length=5000), help_text=_words("secrets")
    )


class TestOutcome(serializers.Serializer[Any]):
    """What came of a test."""

    has_worked = serializers.BooleanField()
    failure = serializers.CharField(allow_blank=True, help_text="Why not.")


class TargetsResource(Resource):
    """/v1/audit/targets"""

    rights = {"GET": Right.AUDIT_EXPORT, "POST": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="list_audit_targets", parameters=paging.PARAMETERS, responses=paged(TargetAnswer))
    def get(self, request: Request) -> Response:
        """List your stores, the oldest first."""
        with self.scope(request):
            rows = selectors.targets()
        return Response(paging.page(request, rows, lambda row: row.pk, lambda row: TargetAnswer(row).data))

    @extend_schema(operation_id="create_audit_target", request=NewTarget, responses={201: TargetAnswer})
    def post(self, request: Request) -> Response:
        """Add a store. Nothing is sent there before you test it or an export goes there."""
        values = read_body(NewTarget, request)
        with self.scope(request):
            made = targets.create(actor=self.principal(request).actor, **values)
        return Response(TargetAnswer(made).data, status=status.HTTP_201_CREATED)


class TargetResource(Resource):
    """/v1/audit/targets/{audit_target_id}"""

    rights = {"GET": Right.AUDIT_EXPORT, "PATCH": Right.AUDIT_EXPORT, "DELETE": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="get_audit_target", responses=TargetAnswer)
    def get(self, request: Request, audit_target_id: UUID) -> Response:
        """Get a store."""
        with self.scope(request):
            return Response(TargetAnswer(targets.get(audit_target_id)).data)

    @extend_schema(operation_id="update_audit_target", request=TargetChange, responses=TargetAnswer)
    def patch(self, request: Request, audit_target_id: UUID) -> Response:
        """Change a store; a secret that is left out stays."""
        values = read_body(TargetChange, request)
        with self.scope(request):
            changed = targets.update(actor=self.principal(request).actor, target_id=audit_target_id, **values)
        return Response(TargetAnswer(changed).data)

    @extend_schema(operation_id="delete_audit_target", responses={204: None})
    def delete(self, request: Request, audit_target_id: UUID) -> Response:
        """Forget a store and its secrets; what is in it stays there."""
        with self.scope(request):
            targets.delete(actor=self.principal(request).actor, target_id=audit_target_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class TargetTestResource(Resource):
    """/v1/audit/targets/{audit_target_id}/test"""

    rights = {"POST": Right.AUDIT_EXPORT}
    calls_out = True

    @extend_schema(operation_id="test_audit_target", request=None, responses=TestOutcome)
    def post(self, request: Request, audit_target_id: UUID) -> Response:
        """Put a small file into a store, and delete it again where that can be."""
        who = self.principal(request)
        failure = targets.test(actor=who.actor, organization_id=who.organization_id, target_id=audit_target_id)
        return Response({"has_worked": not failure, "failure": failure})


class ScheduleAnswer(serializers.ModelSerializer[Schedule]):
    """Exports what is new, again and again."""

    target = serializers.CharField(source="on", allow_blank=True)
    target_id = serializers.UUIDField(help_text="The store.")
    next_range_start = serializers.DateTimeField(source="range_start")

    class Meta:
        model = Schedule
        fields = [
            *("id", "name", "every", "target_id", "format", "compression", "action", "actor", "target", "has_people"),
            *("is_paused", "next_range_start", "created_at"),
        ]


class NewSchedule(WishFields):
    """What goes where, and how often."""

    name = serializers.CharField(max_length=64)
    every = serializers.ChoiceField(choices=Schedule.Every.values, help_text="In UTC; weeks begin on Monday.")
    target_id = serializers.UUIDField(help_text="The store.")
    from_beginning = serializers.BooleanField(default=False, help_text="Whether the first holds all that is older.")


class ScheduleChange(serializers.Serializer[Any]):
    """A schedule that goes on makes what it missed."""

    is_paused = serializers.BooleanField()


class SchedulesResource(Resource):
    """/v1/audit/schedules"""

    rights = {"GET": Right.AUDIT_EXPORT, "POST": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="list_audit_schedules", parameters=paging.PARAMETERS, responses=paged(ScheduleAnswer))
    def get(self, request: Request) -> Response:
        """List schedules, the oldest first."""
        with self.scope(request):
            rows = selectors.schedules()
        return Response(paging.page(request, rows, lambda row: row.pk, lambda row: ScheduleAnswer(row).data))

    @extend_schema(operation_id="create_audit_schedule", request=NewSchedule, responses={201: ScheduleAnswer})
    def post(self, request: Request) -> Response:
        """Have what is new exported into a store, each event exactly once."""
        values = read_body(NewSchedule, request)
        with self.scope(request):
            made = scheduling.create(actor=self.principal(request).actor, wish=_wish(values), **values)
        return Response(ScheduleAnswer(made).data, status=status.HTTP_201_CREATED)


class ScheduleResource(Resource):
    """/v1/audit/schedules/{audit_schedule_id}"""

    rights = {"PATCH": Right.AUDIT_EXPORT, "DELETE": Right.AUDIT_EXPORT}

    @extend_schema(operation_id="update_audit_schedule", request=ScheduleChange, responses=ScheduleAnswer)
    def patch(self, request: Request, audit_schedule_id: UUID) -> Response:
        """Pause a schedule, or let it go on."""
        values = read_body(ScheduleChange, request)
        with self.scope(request):
            changed = scheduling.pause(actor=self.principal(request).actor, schedule_id=audit_schedule_id, **values)
        return Response(ScheduleAnswer(changed).data)

    @extend_schema(operation_id="delete_audit_schedule", responses={204: None})
    def delete(self, request: Request, audit_schedule_id: UUID) -> Response:
        """Make no more of these; exports that were made stay."""
        with self.scope(request):
            scheduling.delete(actor=self.principal(request).actor, schedule_id=audit_schedule_id)
        return Response(status=status.HTTP_204_NO_CONTENT)
