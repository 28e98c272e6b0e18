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

from tenancy.sso.providers.selectors import is_in_use
from tenancy.sso.sessions import login_address, provider_of

ACCOUNT = "/account/"
FREE = ("account_logout", "account_reauthenticate", "mfa_authenticate", "mfa_reauthenticate")
OUTSIDE = ("organization_new",)  # what belongs to the person, and not to the organization
HELD = ("/o/", ACCOUNT, "/organizations/", "/sso/")  # where a session opens something


class SsoSessionMiddleware:
    """Sends such a session back from the account's pages; whoever must show again who they are, to their provider.

    A provider that is switched off or removed takes the sessions that it opened with it.
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
        elif provider_id and request.user.is_authenticated and _is_personal(request):
            if request.path == reverse("account_reauthenticate"):
                return _ask_again(request, provider_id)
            if request.path not in map(reverse, FREE):
                messages.warning(
                    request,
                    "Your organization signs you in. To change your account, sign in with your own password.",
                )
                return redirect("/")
        return self.get_response(request)


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
