"""Reads passkeys at sign-in: what is none is refused, however it is broken."""

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import LoginWebAuthnForm


class PasskeySignInForm(LoginWebAuthnForm):  # type: ignore[misc]  # allauth ships no types
    """allauth's form, for whoever sends JSON that no browser sends: its parser crashes on some of it."""

    def clean_credential(self) -> Authenticator:
        """The passkey that signed, or a ValidationError."""
        try:
            return super().clean_credential()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise get_adapter().validation_error("incorrect_code") from error
