"""The API's routes: the engine's and their extras under /api/v1, the control plane under /v1, and the documents."""

from django.urls import include, path

from capsule_cloud.api import (
    audit,
    billing,
    billing_caps,
    billing_contract,
    billing_invoices,
    billing_plan,
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
    usage_events,
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
    path("usage/events", usage_events.UsageEventsResource.as_view()),
    path("entitlements", entitlements.EntitlementsResource.as_view()),
    path("billing", billing.BillingResource.as_view()),
    path("billing/plans", billing.PlansResource.as_view()),
    path("billing/credits", billing.CreditsResource.as_view()),
    path("billing/contract", billing_contract.ContractResource.as_view()),
    path("billing/invoices", billing_invoices.InvoicesResource.as_view()),
    path("billing/invoices/<uuid:invoice_id>", billing_invoices.InvoiceResource.as_view()),
    path("billing/lines/<uuid:line_id>", billing_invoices.InvoiceLineResource.as_view()),
    path("billing/caps", billing_caps.CapsResource.as_view()),
    path("billing/caps/<uuid:cap_id>", billing_caps.CapResource.as_view()),
    path("billing/notices", billing_caps.NoticesResource.as_view()),
    path("billing/checkout", billing_plan.CheckoutResource.as_view()),
    path("billing/portal", billing_plan.PortalResource.as_view()),
    path("billing/preview", billing_plan.PreviewResource.as_view()),
    path("billing/change", billing_plan.ChangeResource.as_view()),
    path("billing/downgrade", billing_plan.DowngradeResource.as_view()),
    path("billing/cancel", billing_plan.CancelResource.as_view()),
    path("billing/resume", billing_plan.ResumeResource.as_view()),
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
