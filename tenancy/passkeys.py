"""Reads what a browser's passkeys sign: whatever is none is refused, however it is broken."""

from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from django import forms
from django.core.exceptions import BadRequest

MAX_BRACKETS = (
    64  # a browser sends about five objects; the page would print the rest, and Python cannot print a thousand
)
BROKEN = (AttributeError, KeyError, TypeError, ValueError)  # what allauth's parser raises at JSON of another shape


class CredentialField(forms.JSONField):
    """A credential as JSON. What no browser sends is a BadRequest: a form could not even show it again."""

    def to_python(self, value: Any) -> Any:
        """The JSON's value."""
        if isinstance(value, str) and value.count("[") + value.count("{") > MAX_BRACKETS:
            raise BadRequest("The credential is nested too deep.")
        try:
            return super().to_python(value)
        except ValueError as error:  # an integer of more digits than Python reads
            raise BadRequest("The credential holds an endless number.") from error


class SignedForm(AuthenticateWebAuthnForm):  # type: ignore[misc]  # allauth ships no types
    """What allauth's three forms of a signature have in common."""

    credential = CredentialField(widget=forms.HiddenInput)

    def clean_credential(self) -> Authenticator:
        """The passkey that signed, or a ValidationError."""
        try:
            return super().clean_credential()
        except BROKEN as error:
            raise get_adapter().validation_error("incorrect_code") from error


class SignInForm(SignedForm, LoginWebAuthnForm):  # type: ignore[misc]
    """Signing in by a passkey alone."""


class SecondFactorForm(SignedForm):
    """Signing in by a passkey after the password."""


class ConfirmForm(SignedForm, ReauthenticateWebAuthnForm):  # type: ignore[misc]
    """Showing again who one is, before something delicate."""


class AddForm(AddWebAuthnForm):  # type: ignore[misc]
    """Adding a passkey to one's account."""

    credential = CredentialField(widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        """The form's values, or a ValidationError."""
        try:
            values: dict[str, Any] = super().clean()
        except BROKEN as error:
            raise get_adapter().validation_error("incorrect_code") from error
        return values
