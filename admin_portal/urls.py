"""The addresses of the staff console; importing the rooms registers them."""

from admin_portal import billing

app_name = "admin"
urlpatterns = billing.site.get_urls()
