"""The addresses of the staff console; importing the rooms registers them."""

from admin_portal import billing
from admin_portal.site import site

app_name = "admin"
ROOMS = (billing,)
urlpatterns = site.get_urls()
