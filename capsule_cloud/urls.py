"""Joins the surfaces' URLs."""

from django.urls import include, path

from billing import webhooks

urlpatterns = [
    path("", include("capsule_cloud.api.urls")),
    # not allauth.urls: nobody connects accounts of social networks
    path("account/", include("allauth.account.urls")),
    path("account/2fa/", include("allauth.mfa.urls")),
    path("account/sessions/", include("allauth.usersessions.urls")),
    path("webhooks/stripe", webhooks.stripe),
    path("sandbox/", include("billing.sandbox.urls")),
    path("staff/", include("admin_portal.urls")),
    path("scim/v2/", include("tenancy.scim.urls")),
    path("sso/", include("tenancy.sso.urls")),
    path("", include("capsule_cloud.web.urls")),
]
handler400 = "capsule_cloud.web.errors.bad_request"
handler403 = "capsule_cloud.web.errors.forbidden"
handler404 = "capsule_cloud.web.errors.not_found"
handler429 = "capsule_cloud.web.errors.too_many"  # asked for by allauth's rate limits
handler500 = "capsule_cloud.web.errors.server_error"
