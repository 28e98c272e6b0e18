"""Invitations to the organization."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.members import KEY_RANK
from capsule_cloud.api.resource import Resource, paged, read_body
from tenancy import selectors
from tenancy.models import Invitation
from tenancy.roles import Right, Role
from tenancy.services import invitations


class InvitationAnswer(serializers.ModelSerializer[Invitation]):
    """An offer of membership; the link itself is only in the mail."""

    class Meta:
        model = Invitation
        fields = ["id", "email", "role", "invited_by", "created_at", "expires_at", "accepted_at", "revoked_at"]


class NewInvitation(serializers.Serializer[Invitation]):
    """Whom to invite."""

    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(choices=Role.choices, default=Role.MEMBER)


class InvitationsResource(Resource):
    """/v1/invitations"""

    rights = {"GET": Right.MEMBERS_READ, "POST": Right.MEMBERS_WRITE}

    @extend_schema(operation_id="list_invitations", parameters=paging.PARAMETERS, responses=paged(InvitationAnswer))
    def get(self, request: Request) -> Response:
        """List the invitations that are neither accepted nor revoked, newest first."""
        with self.scope(request):
            rows = selectors.open_invitations()
        page = paging.page(request, rows, lambda row: row.pk, lambda row: InvitationAnswer(row).data, newest_first=True)
        return Response(page)

    @extend_schema(operation_id="create_invitation", request=NewInvitation, responses={201: InvitationAnswer})
    def post(self, request: Request) -> Response:
        """Invite somebody by e-mail. A key acts as an admin: it cannot invite an owner."""
        values = read_body(NewInvitation, request)
        with self.scope(request):
            actor = self.principal(request).actor
            invitation = invitations.create(actor=actor, actor_role=KEY_RANK, **values)
        return Response(InvitationAnswer(invitation).data, status=status.HTTP_201_CREATED)


class InvitationResource(Resource):
    """/v1/invitations/{invitation_id}"""

    rights = {"DELETE": Right.MEMBERS_WRITE}

    @extend_schema(operation_id="revoke_invitation", responses={200: InvitationAnswer})
    def delete(self, request: Request, invitation_id: UUID) -> Response:
        """Revoke an open invitation: its link ends."""
        with self.scope(request):
            actor = self.principal(request).actor
            invitation = invitations.revoke(actor=actor, invitation_id=invitation_id)
        return Response(InvitationAnswer(invitation).data)


class InvitationResendResource(Resource):
    """/v1/invitations/{invitation_id}/resend"""

    rights = {"POST": Right.MEMBERS_WRITE}

    @extend_schema(operation_id="resend_invitation", request=None, responses=InvitationAnswer)
    def post(self, request: Request, invitation_id: UUID) -> Response:
        """Mail a new link; the earlier one ends."""
        with self.scope(request):
            actor = self.principal(request).actor
            invitation = invitations.resend(actor=actor, invitation_id=invitation_id)
        return Response(InvitationAnswer(invitation).data)
