"""The staff console's own site: only what is registered here, and none of Django's ways to sign in."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, URLResolver, path
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from admin_portal import sessions
from tenancy.errors import Invalid

# One signs in, out and changes a password where everybody does
KEPT = {"index", "app_list", "jsi18n"}


class ReasonForm(forms.Form):
    """Why a member of staff looks after customers."""

    reason = forms.CharField(
        max_length=sessions.LONGEST_REASON,
        label="Why do you look?",
        help_text="A ticket, and what is wrong. Customers read it in their audit log.",
        widget=forms.TextInput(attrs={"autofocus": True, "class": "vTextField"}),
    )


class StaffSite(AdminSite):
    """Pages for members of staff in a staff session."""

    site_header = site_title = "Capsule Memory Cloud: staff"
    index_title = "What staff look after"
    site_url = None
    enable_nav_sidebar = False
    index_template = app_index_template = "staff/index.html"

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether a staff session is under way; the middleware has sent everybody else away before."""
        return getattr(request, "staff_session", None) is not None

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """The site's pages, and those that begin and end a staff session."""
        found = [one for one in super().get_urls() if isinstance(one, URLResolver) or one.name in KEPT]
        return [path("session/", begin, name="begin"), path("session/end/", end, name="end"), *found]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Beside Django's own: the session, for the head of every page."""
        return super().each_context(request) | {"staff_session": getattr(request, "staff_session", None)}


@require_http_methods(["GET", "HEAD", "POST"])
def begin(request: HttpRequest) -> HttpResponse:
    """Ask for the reason, and let in."""
    form = ReasonForm(request.POST or None)
    user = sessions.member_of_staff(request)
    if user is not None and request.method == "POST" and form.is_valid():
        try:
            sessions.begin(request=request, user=user, reason=form.cleaned_data["reason"])
        except Invalid as refusal:
            form.add_error("reason", str(refusal))
        else:
            wanted = request.GET.get("next", "")
            is_ours = url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()})
            return redirect(wanted if is_ours else "admin:index")
    context = site.each_context(request) | {"form": form, "title": "Begin a staff session", "lasts": sessions.LASTS}
    return render(request, "staff/begin.html", context, status=422 if form.errors else 200)


@require_POST
def end(request: HttpRequest) -> HttpResponse:
    """End the staff session."""
    sessions.end(request=request)
    messages.success(request, "The staff session has ended.")
    return redirect("front")


site = StaffSite()
site.disable_action("delete_selected")
