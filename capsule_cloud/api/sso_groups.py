"""Groups and the roles that they give: what is mapped, what an edit would do, and exactly that done."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.members import KEY_RANK
from capsule_cloud.api.resource import Resource, paged, read_body
from tenancy.groups import previews, selectors, services
from tenancy.groups.plans import Change
from tenancy.groups.previews import Edit, Preview
from tenancy.groups.selectors import Mapped
from tenancy.roles import Right, Role


class GroupRoleAnswer(serializers.Serializer[Any]):
    """A group of your identity provider or directory, and the role that it gives."""

    id = serializers.UUIDField()
    group = serializers.CharField(help_text="As it is sent; compared letter by letter.")
    role = serializers.ChoiceField(choices=Role.choices)
    project_id = serializers.UUIDField(allow_null=True, help_text="Null: the role is one in the organization.")
    members = serializers.IntegerField(help_text="How many members are in the group, as their sources last said.")
    created_at = serializers.DateTimeField()


class GroupEdit(serializers.Serializer[Any]):
    """What a group is to give from now on."""

    group = serializers.CharField(max_length=255, trim_whitespace=False)
    role = serializers.ChoiceField(choices=Role.choices, allow_null=True, help_text="Null: it gives none any more.")
    project_id = serializers.UUIDField(
        allow_null=True, default=None, help_text="In a project a group gives admin, member or viewer."
    )


class GroupEdits(serializers.Serializer[Any]):
    """One edit or several: nobody loses a role between two of them."""

    changes = serializers.ListField(child=GroupEdit(), min_length=1, max_length=previews.MOST_EDITS)


class ConfirmedGroupEdits(GroupEdits):
    """The same, after a look at what they do."""

    fingerprint = serializers.CharField(max_length=64, help_text="Of the preview. 409 where it is another one by now.")


class ProjectMove(serializers.Serializer[Any]):
    """A role in a project that is given, changed or taken."""

    project_id = serializers.UUIDField()
    before = serializers.ChoiceField(choices=Role.choices, allow_null=True)
    after = serializers.ChoiceField(choices=Role.choices, allow_null=True)


class PersonChange(serializers.Serializer[Any]):
    """What becomes of one person."""

    user_id = serializers.UUIDField()
    email = serializers.EmailField()
    role_before = serializers.ChoiceField(choices=Role.choices)
    role_after = serializers.ChoiceField(choices=Role.choices)
    projects = ProjectMove(many=True)
    keys_revoked = serializers.IntegerField(help_text="API keys that may do more than the person may then.")
    because = serializers.CharField()


class GroupsPreview(serializers.Serializer[Any]):
    """What the edits do, or have done."""

    fingerprint = serializers.CharField(help_text="To confirm exactly this.")
    managed = serializers.IntegerField(help_text="Members whose groups a source has named: nobody else is touched.")
    keys_revoked = serializers.IntegerField()
    kept_owner = serializers.EmailField(
        allow_null=True, help_text="Who stays an owner against their groups, for nobody else could be one."
    )
    changes = PersonChange(many=True)


class GroupsResource(Resource):
    """/v1/sso/groups"""

    rights = {"GET": Right.SSO_READ, "POST": Right.MEMBERS_WRITE}

    @extend_schema(operation_id="list_group_roles", parameters=paging.PARAMETERS, responses=paged(GroupRoleAnswer))
    def get(self, request: Request) -> Response:
        """List the groups that give a role."""
        with self.scope(request):
            rows = selectors.mapped()
        return Response(paging.page(request, rows, lambda one: one.row.pk, _shown))

    @extend_schema(operation_id="change_group_roles", request=ConfirmedGroupEdits, responses=GroupsPreview)
    def post(self, request: Request) -> Response:
        """Change what groups give, as the preview with this fingerprint shows it. A key acts as an admin."""
        values = read_body(ConfirmedGroupEdits, request)
        actor = self.principal(request).actor
        with self.scope(request):
            done = services.change(
                actor=actor, actor_role=KEY_RANK, edits=_edits(values), fingerprint=values["fingerprint"]
            )
        return Response(_told(done))


class GroupsPreviewResource(Resource):
    """/v1/sso/groups/preview"""

    rights = {"POST": Right.MEMBERS_WRITE}

    @extend_schema(operation_id="preview_group_roles", request=GroupEdits, responses=GroupsPreview)
    def post(self, request: Request) -> Response:
        """See whose roles and keys edits of the mapping would change. Nothing is changed."""
        values = read_body(GroupEdits, request)
        with self.scope(request):
            return Response(_told(previews.preview(actor_role=KEY_RANK, edits=_edits(values))))


def _edits(values: dict[str, Any]) -> list[Edit]:
    return [
        Edit(one["group"], one["role"] and Role(one["role"]), project_id=one["project_id"]) for one in values["changes"]
    ]


def _shown(one: Mapped) -> dict[str, Any]:
    row = one.row
    columns = {name: getattr(row, name) for name in ("id", "group", "role", "project_id", "created_at")}
    return dict(GroupRoleAnswer(columns | {"members": one.people}).data)


def _told(shown: Preview) -> dict[str, Any]:
    plan = shown.plan
    told = {
        "fingerprint": shown.fingerprint,
        "managed": plan.managed,
        "keys_revoked": plan.keys,
        "kept_owner": plan.kept.email if plan.kept else None,
        "changes": [_change(one) for one in plan.changes],
    }
    return dict(GroupsPreview(told).data)


def _change(one: Change) -> dict[str, Any]:
    return {
        "user_id": one.person.user_id,
        "email": one.person.email,
        "role_before": one.person.role,
        "role_after": one.role,
        "projects": one.moves,
        "keys_revoked": len(one.keys),
        "because": one.because,
    }
