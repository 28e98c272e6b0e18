"""The addresses that identity providers and their people are sent to."""

from django.urls import path

from tenancy.sso import views
from tenancy.sso.oidc import views as oidc
from tenancy.sso.saml import views as saml

urlpatterns = [
    path("saml/<uuid:provider_id>/login/", views.login, name="saml_login"),
    path("saml/<uuid:provider_id>/acs/", views.acs, name="saml_acs"),
    path("saml/<uuid:provider_id>/metadata/", views.metadata, name="saml_metadata"),
    path("saml/<uuid:provider_id>/done/<uuid:sign_in_id>/", views.done, name="saml_done"),
    path("saml/<uuid:provider_id>/logout/", saml.logout, name="saml_logout"),
    path("saml/<uuid:provider_id>/logout/post/", saml.logout_post, name="saml_logout_post"),
    path("saml/<uuid:provider_id>/logout/leave/", saml.leave, name="saml_leave"),
    path("oidc/<uuid:provider_id>/login/", oidc.login, name="oidc_login"),
    path("oidc/<uuid:provider_id>/callback/", oidc.callback, name="oidc_callback"),
    path("oidc/<uuid:provider_id>/backchannel-logout/", oidc.backchannel_logout, name="oidc_backchannel_logout"),
]
