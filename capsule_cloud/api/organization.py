"""The organization that a key belongs to."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.resource import Resource, read_body
from tenancy import selectors
from tenancy.models import Organization
from tenancy.roles import Right
from tenancy.services import organizations


class OrganizationAnswer(serializers.ModelSerializer[Organization]):
    """An organization and what its plan allows: a limit that is null is none."""

    class Meta:
        model = Organization
        fields = [
            "id",
            "slug",
            "name",
            "region",
            "is_mfa_required",
            "project_limit",
            "member_limit",
            "key_limit",
            "requests_per_minute",
            "operation_limit",
            "stored_byte_limit",
            "document_limit",
            "end_user_limit",
            "features",
            "access",
            "period_start",
            "period_end",
            "created_at",
        ]


class OrganizationChange(serializers.Serializer[Organization]):
    """What can be changed; a field left out stays as it is."""

    name = serializers.CharField(max_length=120, required=False)
    is_mfa_required = serializers.BooleanField(
        required=False, help_text="Members need a second factor; a key cannot end that."
    )


class OrganizationResource(Resource):
    """/v1/organization"""

    rights = {"GET": Right.ORGANIZATION_READ, "PATCH": Right.ORGANIZATION_WRITE}

    @extend_schema(operation_id="get_organization", responses=OrganizationAnswer)
    def get(self, request: Request) -> Response:
        """Get the organization."""
        with self.scope(request):
            return Response(OrganizationAnswer(selectors.organization()).data)

    @extend_schema(operation_id="update_organization", request=OrganizationChange, responses=OrganizationAnswer)
    def patch(self, request: Request) -> Response:
        """Change the organization's settings."""
        changes = read_body(OrganizationChange, request)
        with self.scope(request):
            if changes.get("is_mfa_required") is False and selectors.organization().is_mfa_required:
                raise ApiError("forbidden", "A key cannot end the demand for a second factor: use the console.")
            organization = organizations.update(actor=self.principal(request).actor, **changes)
        return Response(OrganizationAnswer(organization).data)
