"""Where single sign-on begins: an address says which identity provider somebody comes from."""

from allauth.core import ratelimit
from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from capsule_cloud.web.errors import page
from capsule_cloud.web.middleware import POLICY
from tenancy.errors import Invalid
from tenancy.sso.domains import names
from tenancy.sso.providers.selectors import provider_for
from tenancy.sso.sessions import login_address

# The form leads on to the identity provider, and browsers hold that against the form's own page
LEADING_ON = POLICY.replace("form-action 'self'", "form-action 'self' https: http://localhost:* http://127.0.0.1:*")


class AddressForm(forms.Form):
    """Whoever wants to come in."""

    email = forms.EmailField(
        label="Work e-mail",
        widget=forms.EmailInput(attrs={"autofocus": True, "autocomplete": "email", "placeholder": "you@company.com"}),
    )


def entrance(request: HttpRequest) -> HttpResponse:
    """Ask for an address, then send the browser to the identity provider of its domain."""
    form = AddressForm(request.POST or None)
    if request.method == "POST":
        if not ratelimit.consume(request, action="login"):
            return page(request, 429)
        if form.is_valid():
            try:
                provider_id = provider_for(names.clean(form.cleaned_data["email"].rpartition("@")[2]))
            except Invalid:
                provider_id = None
            if provider_id is not None:
                return redirect(login_address(provider_id, request.GET.get("next", "/")))
            form.add_error(
                "email", "No organization has set up single sign-on for this domain. Sign in with your password."
            )
    response = render(request, "web/sso_entrance.html", {"form": form}, status=422 if form.errors else 200)
    response.headers["Content-Security-Policy"] = LEADING_ON
    return response
