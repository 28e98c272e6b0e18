"""Projects: separate memories within the organization."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.resource import Resource, paged, read_body
from tenancy import selectors
from tenancy.models import Project
from tenancy.roles import Right
from tenancy.services import projects


class ProjectAnswer(serializers.ModelSerializer[Project]):
    """A project and its settings."""

    class Meta:
        model = Project
        fields = [
            "id",
            "name",
            "slug",
            "cors_origins",
            "turn_retention_days",
            "idle_seal_minutes",
            "audit_reads",
            "created_at",
            "archived_at",
        ]


class NewProject(serializers.Serializer[Project]):
    """What a project needs."""

    name = serializers.CharField(max_length=120)
    slug = serializers.CharField(max_length=60, required=False, help_text="Made from the name when left out.")


class ProjectChange(serializers.Serializer[Project]):
    """What can be changed; a field left out stays as it is."""

    name = serializers.CharField(max_length=120, required=False)
    cors_origins = serializers.ListField(
        child=serializers.CharField(max_length=255),
        max_length=50,
        required=False,
        help_text="Origins whose web pages may use this project's keys, such as https://app.example.com; * is any.",
    )
    turn_retention_days = serializers.IntegerField(min_value=1, max_value=3650, required=False)
    idle_seal_minutes = serializers.IntegerField(min_value=1, max_value=10080, required=False)
    audit_reads = serializers.BooleanField(
        required=False, help_text="Record every read of the project's memories in the audit log: who, which, when."
    )


class ProjectsResource(Resource):
    """/v1/projects"""

    rights = {"GET": Right.PROJECTS_READ, "POST": Right.PROJECTS_WRITE}

    @extend_schema(operation_id="list_projects", parameters=paging.PARAMETERS, responses=paged(ProjectAnswer))
    def get(self, request: Request) -> Response:
        """List the projects that are not archived, oldest first."""
        with self.scope(request):
            rows = selectors.projects()
        return Response(paging.page(request, rows, lambda row: row.pk, lambda row: ProjectAnswer(row).data))

    @extend_schema(operation_id="create_project", request=NewProject, responses={201: ProjectAnswer})
    def post(self, request: Request) -> Response:
        """Create an empty project."""
        values = read_body(NewProject, request)
        with self.scope(request):
            project = projects.create(actor=self.principal(request).actor, **values)
        return Response(ProjectAnswer(project).data, status=status.HTTP_201_CREATED)


class ProjectResource(Resource):
    """/v1/projects/{project_id}"""

    rights = {"GET": Right.PROJECTS_READ, "PATCH": Right.PROJECTS_WRITE}

    @extend_schema(operation_id="get_project", responses=ProjectAnswer)
    def get(self, request: Request, project_id: UUID) -> Response:
        """Get a project."""
        with self.scope(request):
            return Response(ProjectAnswer(projects.find(project_id)).data)

    @extend_schema(operation_id="update_project", request=ProjectChange, responses=ProjectAnswer)
    def patch(self, request: Request, project_id: UUID) -> Response:
        """Change a project's settings."""
        changes = read_body(ProjectChange, request)
        with self.scope(request):
            project = projects.update(actor=self.principal(request).actor, project_id=project_id, **changes)
        return Response(ProjectAnswer(project).data)


class ProjectArchiveResource(Resource):
    """/v1/projects/{project_id}/archive"""

    rights = {"POST": Right.PROJECTS_WRITE}

    @extend_schema(operation_id="archive_project", request=None, responses=ProjectAnswer)
    def post(self, request: Request, project_id: UUID) -> Response:
        """Archive a project: its keys end at once; its memories stay until the organization is purged."""
        with self.scope(request):
            project = projects.archive(actor=self.principal(request).actor, project_id=project_id)
        return Response(ProjectAnswer(project).data)
