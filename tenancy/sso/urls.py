"""The addresses that identity providers and their people are sent to."""

from django.urls import path

from tenancy.sso import views

urlpatterns = [
    path("saml/<uuid:provider_id>/login/", views.login, name="saml_login"),
    path("saml/<uuid:provider_id>/acs/", views.acs, name="saml_acs"),
    path("saml/<uuid:provider_id>/metadata/", views.metadata, name="saml_metadata"),
    path("saml/<uuid:provider_id>/done/<uuid:sign_in_id>/", views.done, name="saml_done"),
]
