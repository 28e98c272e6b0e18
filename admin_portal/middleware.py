"""The door of the staff console: others find nothing behind it, staff need a second factor and a reason."""

from collections.abc import Callable
from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse

from admin_portal.sessions import current, has_just_proved_it, has_second_factor, member_of_staff

PLACE = "/staff/"
BEGIN = f"{PLACE}session/"


class StaffDoorMiddleware:
    """Guards every address under /staff/, whatever view is behind it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request; of the staff's pages only to staff in a staff session, which `request.staff_session` is.

        Raises Http404 for everybody else.
        """
        if not f"{request.path}/".startswith(PLACE):
            return self.get_response(request)
        user = member_of_staff(request)
        if user is None:
            raise Http404
        if not has_second_factor(user):
            messages.warning(request, "The staff console needs a second factor: set one up to go on.")
            return redirect("mfa_index")
        session = current(request)
        request.staff_session = session  # type: ignore[attr-defined]  # ours
        if session is None and request.path != BEGIN:
            return redirect(f"{BEGIN}?{urlencode({'next': request.get_full_path()})}")
        if session is None and not has_just_proved_it(request, user):
            return redirect(f"{reverse('mfa_reauthenticate')}?{urlencode({'next': request.get_full_path()})}")
        return self.get_response(request)
