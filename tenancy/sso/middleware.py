"""Keeps sessions that an identity provider opened away from the account itself."""

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode

from tenancy.sso.sessions import provider_of

ACCOUNT = "/account/"
FREE = ("account_logout", "account_reauthenticate", "mfa_authenticate", "mfa_reauthenticate")
OUTSIDE = ("organization_new",)  # what belongs to the person, and not to the organization


class SsoSessionMiddleware:
    """Sends such a session back from the account's pages; whoever must show again who they are, to their provider."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request, or lead away."""
        is_account = request.path.startswith(ACCOUNT) or request.path in map(reverse, OUTSIDE)
        if is_account and request.user.is_authenticated and (provider_id := provider_of(request)):
            if request.path == reverse("account_reauthenticate"):
                onward = request.GET.get("next", "/")
                onward = onward if url_has_allowed_host_and_scheme(onward, allowed_hosts=None) else "/"
                return redirect(f"{reverse('saml_login', args=[provider_id])}?{urlencode({'next': onward})}")
            if request.path not in map(reverse, FREE):
                messages.warning(
                    request,
                    "Your organization signs you in. To change your account, sign in with your own password.",
                )
                return redirect("/")
        return self.get_response(request)
