"""Members of the organization."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.resource import Resource, paged, read_body
from tenancy import selectors
from tenancy.models import Membership
from tenancy.roles import Right, Role
from tenancy.services import members

KEY_RANK = Role.ADMIN  # a key acts on people as an admin would: it neither makes nor unmakes owners


class MemberAnswer(serializers.ModelSerializer[Membership]):
    """A person and their role."""

    user_id = serializers.UUIDField(source="user.id")
    email = serializers.EmailField(source="user.email")
    name = serializers.CharField(source="user.name")

    class Meta:
        model = Membership
        fields = ["user_id", "email", "name", "role", "created_at"]


class RoleChange(serializers.Serializer[Membership]):
    """The role to give."""

    role = serializers.ChoiceField(choices=Role.choices)


class MemberRemoved(serializers.Serializer[Membership]):
    """What ended with the membership."""

    user_id = serializers.UUIDField()
    keys_revoked = serializers.IntegerField(help_text="API keys that the person had made.")


class MembersResource(Resource):
    """/v1/members"""

    rights = {"GET": Right.MEMBERS_READ}

    @extend_schema(operation_id="list_members", parameters=paging.PARAMETERS, responses=paged(MemberAnswer))
    def get(self, request: Request) -> Response:
        """List the members, oldest first."""
        with self.scope(request):
            rows = selectors.members()
        return Response(paging.page(request, rows, lambda row: row.pk, lambda row: MemberAnswer(row).data))


class MemberResource(Resource):
    """/v1/members/{user_id}"""

    rights = {"PATCH": Right.MEMBERS_WRITE, "DELETE": Right.MEMBERS_WRITE}

    @extend_schema(operation_id="change_member_role", request=RoleChange, responses=MemberAnswer)
    def patch(self, request: Request, user_id: UUID) -> Response:
        """Give a member another role. A key acts as an admin: it neither makes nor unmakes owners."""
        role = read_body(RoleChange, request)["role"]
        with self.scope(request):
            actor = self.principal(request).actor
            membership = members.change_role(actor=actor, actor_role=KEY_RANK, user_id=user_id, role=role)
            return Response(MemberAnswer(membership).data)

    @extend_schema(operation_id="remove_member", responses={200: MemberRemoved})
    def delete(self, request: Request, user_id: UUID) -> Response:
        """Remove a member; every key that they made ends at once."""
        with self.scope(request):
            actor = self.principal(request).actor
            ended = members.remove(actor=actor, actor_role=KEY_RANK, user_id=user_id)
        return Response({"user_id": user_id, "keys_revoked": ended})
