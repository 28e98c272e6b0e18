"""Erases a person from the audit trail by key."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api.resource import Resource, read_body
from tenancy.audit import people
from tenancy.roles import Right


class Erasure(serializers.Serializer[Any]):
    """Who is erased, and why."""

    kind = serializers.ChoiceField(
        choices=people.PersonKind.values,
        help_text="As events have it under `actor` or `target`. Our staff are `user`, too.",
    )
    subject_id = serializers.CharField(
        max_length=255, trim_whitespace=False, help_text="The `id` there; of an end user your own id of them."
    )
    reason = serializers.CharField(
        max_length=200, help_text="It is recorded, and cannot be changed or erased: name nobody."
    )


class ErasureAnswer(serializers.Serializer[Any]):
    """What was erased. It does not name the person again."""

    kind = serializers.CharField()
    erased = serializers.IntegerField(help_text="How many names, addresses and programs are gone.")


class ErasuresResource(Resource):
    """/v1/audit/erasures"""

    rights = {"POST": Right.AUDIT_ERASE}

    @extend_schema(operation_id="erase_audit_person", request=Erasure, responses={201: ErasureAnswer})
    def post(self, request: Request) -> Response:
        """Erase what the trail keeps of a person. It cannot be undone.

        Their events stay, say "erased person", and still prove that nothing was changed. Exports and streams that have
        gone out keep their names; what the person does from now on is recorded anew. A person whom the trail does not
        know, or no longer, is 404.
        """
        said = read_body(Erasure, request)
        with self.scope(request):
            erased = people.erase(actor=self.principal(request).actor, **said)
        return Response({"kind": said["kind"], "erased": erased}, status=status.HTTP_201_CREATED)
