"""The Django apps of the staff console."""

from django.apps import AppConfig
from django.contrib.admin.apps import SimpleAdminConfig


class PortalConfig(AppConfig):
    """Brings the templates, the static files and the tables of staff sessions."""

    name = "admin_portal"
    default_auto_field = "django.db.models.BigAutoField"


class StaffAdminConfig(SimpleAdminConfig):
    """Django's admin with our site as the only one: it looks for no registrations of other packages."""

    default_site = "admin_portal.site.StaffSite"
