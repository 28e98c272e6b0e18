"""Roles of members in single projects."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.members import KEY_RANK
from capsule_cloud.api.resource import Resource, paged, read_body
from tenancy import selectors
from tenancy.models import ProjectRole
from tenancy.roles import PROJECT_ROLES, Right
from tenancy.services import project_roles, projects


class ProjectRoleAnswer(serializers.ModelSerializer[ProjectRole]):
    """What a member may do in a project beside what their role in the organization lets them do."""

    user_id = serializers.UUIDField(source="membership.user.id")
    email = serializers.EmailField(source="membership.user.email")
    is_managed = serializers.BooleanField(help_text="Given by a group of a directory, and taken when they leave it.")

    class Meta:
        model = ProjectRole
        fields = ["user_id", "email", "role", "is_managed", "created_at"]


class ProjectRoleWanted(serializers.Serializer[ProjectRole]):
    """The role to give."""

    role = serializers.ChoiceField(choices=[(role.value, role.label) for role in PROJECT_ROLES])


class ProjectRoleTaken(serializers.Serializer[ProjectRole]):
    """What ended with the role."""

    user_id = serializers.UUIDField()
    keys_revoked = serializers.IntegerField(help_text="API keys of theirs that may do more than they now may.")


class ProjectRolesResource(Resource):
    """/v1/projects/{project_id}/roles"""

    rights = {"GET": Right.MEMBERS_READ}

    @extend_schema(operation_id="list_project_roles", parameters=paging.PARAMETERS, responses=paged(ProjectRoleAnswer))
    def get(self, request: Request, project_id: UUID) -> Response:
        """List who has a role of their own in a project, oldest first."""
        with self.scope(request):
            rows = selectors.project_roles(projects.find(project_id).pk)
        return Response(paging.page(request, rows, lambda row: row.pk, lambda row: ProjectRoleAnswer(row).data))


class ProjectRoleResource(Resource):
    """/v1/projects/{project_id}/roles/{user_id}"""

    rights = {"PUT": Right.MEMBERS_WRITE, "DELETE": Right.MEMBERS_WRITE}

    @extend_schema(operation_id="give_project_role", request=ProjectRoleWanted, responses=ProjectRoleAnswer)
    def put(self, request: Request, project_id: UUID, user_id: UUID) -> Response:
        """Give a member a role in a project. It adds to their role in the organization, and groups leave it alone."""
        role = read_body(ProjectRoleWanted, request)["role"]
        with self.scope(request):
            given = project_roles.give(
                actor=self.principal(request).actor,
                actor_role=KEY_RANK,
                user_id=user_id,
                project_id=project_id,
                role=role,
            )
            return Response(ProjectRoleAnswer(given).data)

    @extend_schema(operation_id="take_project_role", responses={200: ProjectRoleTaken})
    def delete(self, request: Request, project_id: UUID, user_id: UUID) -> Response:
        """Take a member's role in a project; keys of theirs that may do more than is left end at once."""
        with self.scope(request):
            ended = project_roles.take(
                actor=self.principal(request).actor, actor_role=KEY_RANK, user_id=user_id, project_id=project_id
            )
        return Response({"user_id": user_id, "keys_revoked": ended})
