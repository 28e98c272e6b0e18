"""The API's routes: the engine's and their extras under /api/v1, the control plane under /v1, and the documents."""

from django.urls import include, path

from capsule_cloud.api import (
    audit,
    entitlements,
    health,
    invitations,
    keys,
    mcp,
    members,
    openapi,
    organization,
    projects,
    usage,
)
from capsule_cloud.api.catalogue import PLAIN, PREFIX
from capsule_cloud.api.operations import Shortcut, routes

control_plane = [
    path("organization", organization.OrganizationResource.as_view()),
    path("projects", projects.ProjectsResource.as_view()),
    path("projects/<uuid:project_id>", projects.ProjectResource.as_view()),
    path("projects/<uuid:project_id>/archive", projects.ProjectArchiveResource.as_view()),
    path("members", members.MembersResource.as_view()),
    path("members/<uuid:user_id>", members.MemberResource.as_view()),
    path("invitations", invitations.InvitationsResource.as_view()),
    path("invitations/<uuid:invitation_id>", invitations.InvitationResource.as_view()),
    path("invitations/<uuid:invitation_id>/resend", invitations.InvitationResendResource.as_view()),
    path("keys", keys.KeysResource.as_view()),
    path("keys/<uuid:key_id>", keys.KeyResource.as_view()),
    path("keys/<uuid:key_id>/rotate", keys.KeyRotationResource.as_view()),
    path("usage", usage.UsageResource.as_view()),
    path("entitlements", entitlements.EntitlementsResource.as_view()),
    path("audit/events", audit.AuditEventsResource.as_view()),
]
plain = routes([one for group in PLAIN.values() for one in group])
shortcut = Shortcut(f"/{PREFIX}", plain)
urlpatterns = [
    path(PREFIX, include(plain)),
    path("health", health.health),
    path("v1/", include(control_plane)),
    path("mcp", mcp.endpoint),
    path("openapi.json", openapi.document),
    path("docs", openapi.Browser.as_view()),
]
