"""Joins django-allauth to the house: sign-up by name and e-mail, sealed second factors, audited sign-ins."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse

from capsule_cloud.lib import crypto
from tenancy.access import memberships
from tenancy.audit import actions
from tenancy.audit.attempts.services import attempt
from tenancy.middleware import client_ip
from tenancy.models import User
from tenancy.services.accounts import person, tell_organizations
from tenancy.sso.saml.leaving import onward
from tenancy.sso.sessions import is_vouched_for


class SignupForm(forms.Form):
    """What sign-up asks beside e-mail and password."""

    name = forms.CharField(
        max_length=120, label="Your name", widget=forms.TextInput(attrs={"autocomplete": "name", "autofocus": True})
    )
    field_order = ("name", "email", "password1")

    def signup(self, request: HttpRequest, user: User) -> None:
        """Keep the name (called by allauth once the user is saved)."""
        user.name = self.cleaned_data["name"].strip()
        user.save(update_fields=["name"])


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth's account hooks."""

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address that rate limits count."""
        return client_ip(request)

    def get_login_stages(self) -> list[str]:
        """Without the second factor where the identity provider's counts."""
        stages: list[str] = super().get_login_stages()
        if not is_vouched_for(self.request):
            return stages
        return [one for one in stages if not one.startswith("allauth.mfa.")]

    def get_logout_redirect_url(self, request: HttpRequest) -> str:
        """On to the identity provider that opened the session, where it wants to know."""
        url: str = onward(request) or super().get_logout_redirect_url(request)
        return url

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        """Tell each of the person's organizations that they signed in."""
        tell_organizations(user=user, action=actions.SIGNED_IN)
        response: HttpResponse = super().post_login(request, user, **kwargs)
        return response

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Tell the organizations of a known address that somebody has tried too often, and is kept out."""
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            _tell_of_attempt(actions.SIGN_IN_BLOCKED, credentials)
            raise

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Tell the organizations of a known address that a sign-in failed."""
        super().authentication_failed(request, **credentials)
        _tell_of_attempt(actions.SIGN_IN_FAILED, credentials)


def _tell_of_attempt(action: actions.Action, credentials: dict[str, Any]) -> None:
    user = User.objects.filter(email__iexact=str(credentials.get("email") or "")).first()
    if user is not None:
        for member in memberships(user):
            attempt(organization_id=member.organization_id, action=action, target=person(user))


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth's second-factor hooks: secrets are sealed before they are stored."""

    def encrypt(self, text: str) -> str:
        """Seal a TOTP secret or recovery-code seed."""
        return crypto.seal(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """Open what `encrypt` sealed."""
        return crypto.unseal(encrypted_text.encode()).decode()
