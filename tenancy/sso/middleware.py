"""Keeps sessions that an identity provider opened away from the account itself, and ends them with the provider."""

from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import UUID

from allauth.account.internal.flows.reauthentication import STATE_SESSION_KEY
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from tenancy.access import MemberPrincipal
from tenancy.models import User
from tenancy.sso.enforcement import lacks_second_factor, may_enrol, sign_out
from tenancy.sso.providers.selectors import is_in_use
from tenancy.sso.sessions import has_ended, login_address, memberships_of, provider_of

ACCOUNT, FACTORS = "/account/", "mfa_index"
FREE = ("account_logout", "account_reauthenticate", "mfa_authenticate", "mfa_reauthenticate")
OUTSIDE = ("organization_new",)  # what belongs to the person, and not to the organization
ENROL, ENROLLED = "mfa_activate_totp", "mfa_view_recovery_codes"
HELD = ("/o/", ACCOUNT, "/organizations/", "/sso/")  # where a session opens something
_ENROLS = "sso_enrols"


class SsoSessionMiddleware:
    """Sends such a session back from the account's pages; whoever must show again who they are, to their provider.

    A provider that is switched off or removed takes the sessions that it opened with it; others last as long as theirs
    says. Where the organization wants a second factor, and the provider's does not count, one can be set up.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request, or lead away."""
        if request.path != "/" and not request.path.startswith(HELD):
            return self.get_response(request)
        provider_id = provider_of(request)
        if provider_id and not is_in_use(provider_id):
            logout(request)
        elif provider_id and has_ended(request):
            onward = request.get_full_path() if request.method == "GET" else "/"
            return redirect(sign_out(request, onward, "Your identity provider has you sign in again."))
        elif provider_id and isinstance(request.user, User) and _is_personal(request):
            if request.path == reverse("account_reauthenticate"):
                return _ask_again(request, provider_id)
            if request.path not in map(reverse, FREE) and not _may_enrol(request, request.user):
                if request.path == reverse(FACTORS):
                    return _how_to_enrol(request, request.user)
                messages.warning(
                    request,
                    "Your organization signs you in. To change your account, sign in with your own password.",
                )
                return redirect("/")
        return self.get_response(request)


def _wanting(request: HttpRequest, user: User) -> MemberPrincipal | None:
    """The organization that lets the session in, if it wants a second factor that is not there."""
    return next((one for one in memberships_of(request) if lacks_second_factor(request, user, one)), None)


def _may_enrol(request: HttpRequest, user: User) -> bool:
    """Whether the page is one by which a second factor is set up, and that may be done; its codes are shown after."""
    if request.path == reverse(ENROLLED):
        return bool(request.session.get(_ENROLS))
    member = _wanting(request, user) if request.path == reverse(ENROL) else None
    if member is None or not may_enrol(user, member):
        return False
    request.session[_ENROLS] = True
    return True


def _how_to_enrol(request: HttpRequest, user: User) -> HttpResponse:
    """To the page that sets a second factor up; where the session may not, to words on how to do it."""
    member = _wanting(request, user)
    if member is None:
        return redirect("/")
    if may_enrol(user, member):
        return redirect(ENROL)
    return render(request, "sso/second_factor.html", {"member": member})


def _is_personal(request: HttpRequest) -> bool:
    return request.path.startswith(ACCOUNT) or request.path in map(reverse, OUTSIDE)


def _ask_again(request: HttpRequest, provider_id: UUID) -> HttpResponse:
    """A page with a link to the provider: browsers let no form of the console lead to another site.

    What a form wanted is not done behind the person's back: they come back to its page instead.
    """
    is_lost = STATE_SESSION_KEY in request.session
    onward = request.GET.get("next", "/")
    if is_lost:
        parts = urlsplit(request.headers.get("Referer", ""))
        onward = parts.path if parts.netloc == request.get_host() else "/"
    if not url_has_allowed_host_and_scheme(onward, allowed_hosts=None):
        onward = "/"
    address = login_address(provider_id, onward)
    return render(request, "sso/again.html", {"address": address, "is_lost": is_lost})
