"""What is typed about an identity provider, and what is done with it."""

from typing import Any
from uuid import UUID

from django import forms

from capsule_cloud.web.sso_visitors import Visitor
from tenancy.errors import Invalid
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider
from tenancy.sso.oidc import services as oidc
from tenancy.sso.providers import services
from tenancy.sso.providers.reasons import REASONS, Reason, Refused
from tenancy.sso.saml import fetching

LARGEST_FILE = 256 * 1024
_PLAIN = {"autocomplete": "off", "spellcheck": "false"}
TOKEN_AUTH = IdentityProvider.TokenAuth


def fetched(url: str, certificate: str = "") -> str:
    """The metadata at an address; no transaction may be open. Raises Invalid, which says why none came."""
    try:
        return fetching.fetch(fetching.check_url(url), certificate)
    except fetching.Unfetched as failure:
        raise Invalid("metadata_url", str(failure)) from None


class NewProviderForm(forms.Form):
    """An identity provider that is entered for the first time."""

    name = forms.CharField(
        max_length=120,
        label="Name",
        help_text="For yourselves, such as Okta.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def add(self, visitor: Visitor, provider_id: UUID) -> IdentityProvider:
        """Add what was entered, under the id that was reserved. Opens its own scopes; may ask the provider."""
        raise NotImplementedError

    def ask(self, visitor: Visitor, provider_id: UUID) -> Reason | None:
        """Ask the provider itself what can be asked before anybody signs in; why that failed, or None."""
        return None


class SamlForm(NewProviderForm):
    """What a SAML identity provider says of itself, in one of three ways."""

    metadata_url = forms.CharField(
        max_length=2048,
        required=False,
        label="Metadata URL",
        help_text="We read it now, and every day from then on: a renewed certificate comes by itself.",
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "https://…"}),
    )
    metadata_file = forms.FileField(
        required=False, label="Metadata file", widget=forms.FileInput(attrs={"accept": ".xml,application/xml,text/xml"})
    )
    metadata = forms.CharField(
        required=False,
        label="Metadata as text",
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false", "class": "mono"}),
    )

    def clean(self) -> dict[str, Any]:
        """One of them, and the file as text."""
        given: dict[str, Any] = super().clean() or {}
        file = given.get("metadata_file")
        if file is not None and not given.get("metadata"):
            try:
                given["metadata"] = file.read(LARGEST_FILE + 1).decode("utf-8-sig")
            except UnicodeDecodeError:
                self.add_error("metadata_file", "This file is no text in UTF-8: download the metadata again.")
                return given
        if not self.errors and not given.get("metadata") and not given.get("metadata_url"):
            self.add_error(None, "Give us the metadata: its address, a file, or as text.")
        return given

    def add(self, visitor: Visitor, provider_id: UUID) -> IdentityProvider:
        """As it was given."""
        given = self.cleaned_data
        wanted = {"name": given["name"], "metadata_xml": given["metadata"], "provider_id": provider_id}
        if not given["metadata"]:
            wanted |= {"metadata_url": given["metadata_url"], "metadata_xml": fetched(given["metadata_url"])}
        with scope(visitor.organization_id):
            return services.add(actor=visitor.actor, **wanted)


class ClientForm(forms.Form):
    """What an OpenID provider gave for us."""

    issuer = forms.CharField(
        max_length=600,
        label="Issuer",
        help_text="As the identity provider calls itself, letter for letter.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    client_id = forms.CharField(max_length=255, label="Client ID", widget=forms.TextInput(attrs=_PLAIN))
    client_secret = forms.CharField(
        max_length=1024,
        required=False,
        label="Client secret",
        help_text="We keep it encrypted, and never show it again.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    more_scopes = forms.CharField(
        max_length=255,
        required=False,
        label="More scopes",
        help_text="Beside openid, email and profile. At Okta, groups, if groups shall give roles.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    token_auth_method = forms.ChoiceField(
        choices=TOKEN_AUTH.choices,
        initial=TOKEN_AUTH.BASIC,
        label="How we show the secret",
        help_text="As the identity provider expects it at its token endpoint; most take the first.",
    )


class OidcForm(ClientForm, NewProviderForm):
    """The same, with a name."""

    field_order = ("name",)

    def add(self, visitor: Visitor, provider_id: UUID) -> IdentityProvider:
        """As it was given."""
        with scope(visitor.organization_id):
            return oidc.add(actor=visitor.actor, provider_id=provider_id, **self.cleaned_data)

    def ask(self, visitor: Visitor, provider_id: UUID) -> Reason | None:
        """Ask for its discovery document."""
        try:
            oidc.discover(organization_id=visitor.organization_id, provider_id=provider_id)
        except Refused as refusal:
            return REASONS[refusal.code]
        return None


class ReadingForm(forms.Form):
    """Where a sign-in says who somebody is."""

    email_attribute = forms.CharField(
        max_length=255,
        required=False,
        label="Attribute with the e-mail address",
        help_text="Empty: where identity providers usually have it.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    name_attribute = forms.CharField(
        max_length=255,
        required=False,
        label="Attribute with the name",
        help_text="Empty: the usual ones.",
        widget=forms.TextInput(attrs=_PLAIN),
    )

    def change(self, visitor: Visitor, provider: IdentityProvider) -> IdentityProvider:
        """Read sign-ins so from now on, and keep the rest."""
        who: dict[str, Any] = {"actor": visitor.actor, "actor_role": Role.VIEWER, "provider_id": provider.pk}
        kept = {name: getattr(provider, name) for name in ("name", "default_role")} | self.cleaned_data
        if provider.protocol == IdentityProvider.Protocol.OIDC:
            names = ("issuer", "client_id", "token_auth_method", "more_scopes")
            return oidc.change(**who, **kept, client_secret="", **{name: getattr(provider, name) for name in names})
        sources = ("metadata_url", "metadata_certificate", "is_unsolicited_allowed")
        more = {name: getattr(provider, name) for name in sources}
        return services.change(**who, **kept, metadata_xml=provider.metadata, **more)


class SamlSettingsForm(ReadingForm):
    """What can be chosen of a SAML provider."""

    default_role = forms.ChoiceField(choices=Role.choices, label="Role of newcomers")
    name = forms.CharField(
        max_length=120, label="Name", widget=forms.TextInput(attrs={"autofocus": True, "autocomplete": "off"})
    )
    metadata_url = forms.CharField(
        max_length=2048,
        required=False,
        label="Metadata URL",
        help_text="We read it every day. Empty: what stands below counts until you paste something else.",
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "https://…"}),
    )
    metadata_certificate = forms.CharField(
        required=False,
        label="Certificate that signs the metadata",
        help_text="Where the identity provider signs it. PEM; without one, https has to be enough.",
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "class": "mono"}),
    )
    metadata = forms.CharField(
        label="Its metadata",
        help_text="With the old and the new certificate in it, sign-in never stops.",
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "class": "mono"}),
    )
    is_unsolicited_allowed = forms.BooleanField(
        required=False,
        label="Sign-in may begin at the identity provider",
        help_text="For tiles in its app launcher. A little less safe: we cannot know who asked for the sign-in.",
    )
    field_order = (
        *("name", "metadata_url", "metadata_certificate", "metadata", "email_attribute", "name_attribute"),
        "default_role",
    )


class OidcSettingsForm(ReadingForm, ClientForm):
    """What can be chosen of an OpenID provider."""

    default_role = forms.ChoiceField(choices=Role.choices, label="Role of newcomers")
    name = forms.CharField(
        max_length=120, label="Name", widget=forms.TextInput(attrs={"autofocus": True, "autocomplete": "off"})
    )
    field_order = ("name",)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.fields["client_secret"].help_text = "Empty: the one that we have stays."
