"""Proofs of the audit trail: signed checkpoints, that an event is in them, and that they only grow."""

from typing import Any

from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.resource import Resource, read_query
from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing import keys, notes, selectors
from tenancy.roles import Right

TLOG_PROOF = "tlog-proof"
HASHES = "Base64, as RFC 6962 has them, the lowest first."
NOTE = "A signed note (c2sp.org/tlog-checkpoint): the log's name, its size, its root in base64, and signatures."


class CheckpointQuery(serializers.Serializer[Any]):
    """Which checkpoint."""

    size = serializers.IntegerField(
        required=False, min_value=1, help_text="The one of so many events; else the newest."
    )


class ProofQuery(serializers.Serializer[Any]):
    """Of which size, and how it is written."""

    size = serializers.IntegerField(required=False, min_value=1, help_text="A checkpoint's size; else the newest's.")
    format = serializers.ChoiceField(
        choices=["json", TLOG_PROOF], default="json", help_text="`tlog-proof`: the text of c2sp.org/tlog-proof alone."
    )


class ConsistencyQuery(serializers.Serializer[Any]):
    """From where to where. Both are sizes of checkpoints."""

    to = serializers.IntegerField(required=False, min_value=1, help_text="A checkpoint's size; else the newest's.")

    def get_fields(self) -> dict[str, Any]:
        """`from` is a word of Python's own."""
        about = "The size of the checkpoint that you kept."
        return {"from": serializers.IntegerField(min_value=1, help_text=about), **super().get_fields()}


class LogProofAnswer(serializers.Serializer[Any]):
    """That the checkpoint is in the log of all organizations' checkpoints."""

    index = serializers.IntegerField()
    size = serializers.IntegerField()
    checkpoint = serializers.CharField(help_text=NOTE)
    hashes = serializers.ListField(child=serializers.CharField(), help_text=HASHES)
    proof = serializers.CharField(help_text="The same as a file (c2sp.org/tlog-proof).")


class CheckpointAnswer(serializers.Serializer[Any]):
    """What was signed of the trail."""

    origin = serializers.CharField(help_text="The name of your log.")
    size = serializers.IntegerField(help_text="How many events are sealed.")
    root = serializers.CharField(help_text="Base64.")  # type: ignore[assignment]  # a field that is called as DRF's own attribute
    checkpoint = serializers.CharField(help_text=NOTE)
    at = serializers.DateTimeField()
    verifier_keys = serializers.ListField(
        child=serializers.CharField(), help_text="Every key ever used, as tools take them (c2sp.org/signed-note)."
    )
    lag_seconds = serializers.FloatField(help_text="How long the oldest event of anybody's waits for its seal.")
    log = LogProofAnswer()


class EventProofAnswer(serializers.Serializer[Any]):
    """That an event is in a checkpoint's tree."""

    event_id = serializers.UUIDField()
    event = serializers.CharField(
        allow_null=True, help_text="The bytes that are hashed, as text; null once its month is dropped."
    )
    index = serializers.IntegerField(help_text="Its place, from 0.")
    leaf = serializers.CharField(help_text="Base64: SHA-256 of a zero byte and the event.")
    size = serializers.IntegerField()
    checkpoint = serializers.CharField(help_text=NOTE)
    hashes = serializers.ListField(child=serializers.CharField(), help_text=HASHES)
    proof = serializers.CharField(help_text="The same as a file (c2sp.org/tlog-proof).")


class ConsistencyAnswer(serializers.Serializer[Any]):
    """That the newer tree begins with the older one."""

    to = serializers.IntegerField()
    checkpoint = serializers.CharField(help_text=f"Of the newer tree. {NOTE}")
    hashes = serializers.ListField(child=serializers.CharField(), help_text=HASHES)

    def get_fields(self) -> dict[str, Any]:
        """As above."""
        return {"from": serializers.IntegerField(), **super().get_fields()}


class CheckpointResource(Resource):
    """/v1/audit/checkpoint"""

    rights = {"GET": Right.AUDIT_READ}

    @extend_schema(operation_id="get_audit_checkpoint", parameters=[CheckpointQuery], responses=CheckpointAnswer)
    def get(self, request: Request) -> Response:
        """Get the newest signed checkpoint of the trail, or an older one, with its proof in the log of all.

        Keep it: with it you can tell whether the trail was rewritten later.
        """
        query = read_query(CheckpointQuery, request)
        lag = selectors.lag()
        with self.scope(request):
            size = query.get("size")
            found = selectors.latest_checkpoint() if size is None else selectors.checkpoint_at(size)
            if found is None:
                raise _not_sealed("No checkpoint of that size was signed." if size else "Nothing is sealed yet.")
            origin, log = selectors.organization_origin(), selectors.log_proof(found)
            public = keys.public_halves()
        return Response(
            {
                "origin": origin,
                "size": found.size,
                "root": notes.encoded(bytes(found.root)),
                "checkpoint": found.note,
                "at": found.at,
                "verifier_keys": [notes.verifier_key(origin, one) for one in public],
                "lag_seconds": round(lag.seconds, 1),
                "log": {"index": log.index, "size": log.size, "checkpoint": log.note, **_hashes(log)},
            }
        )


class EventProofResource(Resource):
    """/v1/audit/events/{audit_event_id}/proof"""

    rights = {"GET": Right.AUDIT_READ}

    @extend_schema(
        operation_id="get_audit_event_proof",
        parameters=[ProofQuery],
        responses={(200, "application/json"): EventProofAnswer, (200, "text/plain"): OpenApiResponse(str, "The text.")},
    )
    def get(self, request: Request, audit_event_id: Any) -> HttpResponseBase:
        """Prove that an event is in the trail. It is sealed about a second after it was recorded; until then 404."""
        query = read_query(ProofQuery, request)
        with self.scope(request):
            try:
                proved = selectors.inclusion_proof(audit_event_id, query.get("size"))
            except selectors.NotSealed as error:
                raise _not_sealed(str(error)) from None
            body = AuditEvent.objects.filter(pk=audit_event_id).values_list("body", flat=True).first()
        if query["format"] == TLOG_PROOF:
            return HttpResponse(_hashes(proved)["proof"], content_type="text/plain; charset=utf-8")
        return Response(
            {
                "event_id": proved.event_id,
                "event": body,
                "index": proved.index,
                "leaf": notes.encoded(proved.leaf),
                "size": proved.size,
                "checkpoint": proved.note,
                **_hashes(proved),
            }
        )


class ConsistencyResource(Resource):
    """/v1/audit/consistency"""

    rights = {"GET": Right.AUDIT_READ}

    @extend_schema(operation_id="get_audit_consistency", parameters=[ConsistencyQuery], responses=ConsistencyAnswer)
    def get(self, request: Request) -> Response:
        """Prove that the trail of `to` events begins with the trail of `from`: nothing in between was rewritten."""
        query = read_query(ConsistencyQuery, request)
        old, to = query["from"], query.get("to")
        with self.scope(request):
            newer = selectors.latest_checkpoint() if to is None else selectors.checkpoint_at(to)
            if newer is None:
                raise _not_sealed("No checkpoint of that size was signed.")
            try:
                hashes = selectors.consistency_proof(old, newer.size)
            except selectors.NotSealed as error:
                raise _not_sealed(str(error)) from None
        shown = [notes.encoded(one) for one in hashes]
        return Response({"from": old, "to": newer.size, "checkpoint": newer.note, "hashes": shown})


def _hashes(proved: selectors.Proved) -> dict[str, Any]:
    proof = notes.tlog_proof(proved.index, proved.hashes, proved.note)
    return {"hashes": [notes.encoded(one) for one in proved.hashes], "proof": proof}


def _not_sealed(detail: str) -> ApiError:
    return ApiError("not_found", detail)
