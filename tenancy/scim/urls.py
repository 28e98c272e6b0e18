"""The addresses of SCIM, below `/scim/v2/`, with the names that django-scim2 gives them."""

from django.urls import re_path

from tenancy.scim.views import DirectoryView

app_name = "scim"
view = DirectoryView.as_view()
urlpatterns = [
    re_path(r"^(?P<path>)$", view, name="root"),
    re_path(r"^(?P<path>\.search)$", view, name="search"),
    re_path(r"^(?P<path>Users/\.search)$", view, name="users-search"),
    re_path(r"^(?P<path>Users(?:/[^/]+)?)$", view, name="users"),
    re_path(r"^(?P<path>Groups/\.search)$", view, name="groups-search"),
    re_path(r"^(?P<path>Groups(?:/[^/]+)?)$", view, name="groups"),
    re_path(r"^(?P<path>Me)$", view, name="me"),
    re_path(r"^(?P<path>ServiceProviderConfig)$", view, name="service-provider-config"),
    re_path(r"^(?P<path>ResourceTypes(?:/[^/]+)?)$", view, name="resource-types"),
    re_path(r"^(?P<path>Schemas(?:/[^/]+)?)$", view, name="schemas"),
    re_path(r"^(?P<path>Bulk)$", view, name="bulk"),
    re_path(r"^(?P<path>.+)$", view, name="elsewhere"),
]
