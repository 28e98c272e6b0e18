"""Identity providers of an organization: added, changed, switched, removed; and every answer that they gave."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capsule_cloud.api import paging
from capsule_cloud.api.members import KEY_RANK
from capsule_cloud.api.resource import Resource, paged, read_body, read_query
from tenancy.errors import Invalid
from tenancy.roles import Right, Role
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.oidc import addresses
from tenancy.sso.oidc import services as oidc
from tenancy.sso.providers import selectors, services, traces
from tenancy.sso.providers.reasons import REASONS
from tenancy.sso.saml import configuration, fetching, metadata

Protocol = IdentityProvider.Protocol
# What each protocol has of its own: the other's is refused
OF_SAML = ("metadata", "metadata_url", "metadata_certificate", "is_unsolicited_allowed")
OF_OIDC = ("issuer", "client_id", "client_secret", "token_auth_method", "more_scopes")


class OurSide(serializers.Serializer[Any]):
    """What the identity provider must know of us; of the other protocol it is empty."""

    entity_id = serializers.CharField(help_text="Our metadata is at this address, too.")
    acs_url = serializers.CharField()
    logout_url = serializers.CharField()
    redirect_uri = serializers.CharField()
    backchannel_logout_uri = serializers.CharField()
    login_url = serializers.CharField(help_text="For tiles of the provider's own pages.")


class IdentityProviderAnswer(serializers.ModelSerializer[IdentityProvider]):
    """An identity provider. People of your verified domains sign in by it while it is `active`."""

    ours = OurSide()
    signing_certificate_expires_at = serializers.DateTimeField(
        source="certificate_expires_at", allow_null=True, help_text="The last of those in its metadata; SAML alone."
    )
    metadata_failure = serializers.CharField(help_text="Why it could not be read at its address; empty where it was.")
    has_client_secret = serializers.BooleanField(help_text="The secret itself never comes back.")

    class Meta:
        model = IdentityProvider
        fields = [
            *("id", "name", "protocol", "state", "tested_at", "created_at", "default_role", "email_attribute"),
            *("name_attribute", "entity_id", "metadata_url", "metadata_fetched_at", "metadata_failure"),
            *("signing_certificate_expires_at", "is_unsolicited_allowed", "issuer", "client_id", "token_auth_method"),
            *("more_scopes", "has_client_secret", "ours"),
        ]


class ProviderFields(serializers.Serializer[Any]):
    """What can be said of a provider. What it speaks decides which of it belongs to it."""

    name = serializers.CharField(max_length=120, required=False)
    metadata = serializers.CharField(required=False, help_text="SAML: the XML. One of this and `metadata_url`.")
    metadata_url = serializers.CharField(
        max_length=2048, required=False, help_text="SAML: read now, and every day from then on."
    )
    metadata_certificate = serializers.CharField(
        required=False, allow_blank=True, help_text="SAML: PEM; what is at `metadata_url` must be signed by it."
    )
    is_unsolicited_allowed = serializers.BooleanField(
        required=False, help_text="SAML: sign-in may begin at the identity provider."
    )
    issuer = serializers.CharField(max_length=600, required=False, help_text="OpenID Connect.")
    client_id = serializers.CharField(max_length=255, required=False, help_text="OpenID Connect.")
    client_secret = serializers.CharField(
        max_length=1024, required=False, allow_blank=True, help_text="OpenID Connect. Kept encrypted, never shown."
    )
    token_auth_method = serializers.ChoiceField(
        choices=IdentityProvider.TokenAuth.choices, required=False, help_text="OpenID Connect."
    )
    more_scopes = serializers.CharField(
        max_length=255,
        required=False,
        allow_blank=True,
        help_text="OpenID Connect: beside openid, email and profile, with blanks between them.",
    )


class NewProvider(ProviderFields):
    """A provider that nobody signs in by yet."""

    name = serializers.CharField(max_length=120)
    protocol = serializers.ChoiceField(choices=Protocol.choices)


class ProviderChange(ProviderFields):
    """What is to change. What sign-in depends on wants a new test; `is_on` lets people sign in, or no longer."""

    email_attribute = serializers.CharField(
        max_length=255, required=False, allow_blank=True, help_text="Empty: where providers usually have it."
    )
    name_attribute = serializers.CharField(
        max_length=255, required=False, allow_blank=True, help_text="Empty: the usual ones."
    )
    default_role = serializers.ChoiceField(choices=Role.choices, required=False, help_text="Of newcomers.")
    is_on = serializers.BooleanField(required=False, help_text="Asks for a test that came through, and for a domain.")


class SignInQuery(serializers.Serializer[Any]):
    """Which of them."""

    state = serializers.ChoiceField(choices=SignIn.State.choices, required=False)
    code = serializers.ChoiceField(choices=list(REASONS), required=False)


class SignInAnswer(serializers.ModelSerializer[SignIn]):
    """An answer of an identity provider, and what came of it. Kept for 30 days."""

    code = serializers.ChoiceField(choices=["", *REASONS], help_text="Why it was refused; empty where it was not.")
    reason = serializers.CharField(help_text="The same in a sentence.")
    remedy = serializers.CharField(help_text="What helps.")
    user_id = serializers.UUIDField(allow_null=True, help_text="Who was signed in.")
    attributes = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()), help_text="What was asserted, or the claims."
    )

    class Meta:
        model = SignIn
        fields = [
            *("id", "state", "code", "reason", "remedy", "detail", "subject", "email", "attributes", "user_id"),
            "created_at",
        ]


def _shown(provider: IdentityProvider) -> dict[str, Any]:
    is_saml = provider.protocol == Protocol.SAML
    ours = dict.fromkeys(OurSide().fields, "")
    if is_saml:
        ours |= {
            "entity_id": configuration.entity_id(provider.pk),
            "acs_url": configuration.acs_url(provider.pk),
            "logout_url": configuration.logout_url(provider.pk),
            "login_url": f"{configuration.base(provider.pk)}/login/",
        }
    else:
        ours |= {
            "redirect_uri": addresses.redirect_uri(provider.pk),
            "backchannel_logout_uri": addresses.backchannel_logout_uri(provider.pk),
            "login_url": addresses.initiate_login_uri(provider.pk),
        }
    provider.ours = ours  # type: ignore[attr-defined]  # what the serializer reads
    provider.has_client_secret = provider.client_secret is not None  # type: ignore[attr-defined]
    return dict(IdentityProviderAnswer(provider).data)


def _shown_sign_in(sign_in: SignIn) -> dict[str, Any]:
    reason = REASONS.get(sign_in.code)
    sign_in.reason = reason.sentence if reason else ""  # type: ignore[attr-defined]  # what the serializer reads
    sign_in.remedy = reason.remedy if reason else ""  # type: ignore[attr-defined]
    return dict(SignInAnswer(sign_in).data)


def _only(values: dict[str, Any], protocol: str) -> dict[str, Any]:
    """What was given, without what only the other protocol has. Raises Invalid where it was."""
    for name in OF_OIDC if protocol == Protocol.SAML else OF_SAML:
        if name in values:
            raise Invalid(name, f"A provider that speaks {Protocol(protocol).label} has none.")
    return values


def _metadata(values: dict[str, Any]) -> dict[str, Any]:
    """The metadata that was given or is at the address that was, as services take it. No transaction may be open."""
    url, certificate = values.pop("metadata_url", ""), values.pop("metadata_certificate", "")
    if bool(url) == ("metadata" in values):
        raise Invalid("metadata", "Give either the metadata itself or its address.")
    if not url:
        return {"metadata_xml": values.pop("metadata")}
    try:
        text = fetching.fetch(fetching.check_url(url), metadata.clean_certificate(certificate) if certificate else "")
    except fetching.Unfetched as failure:
        raise Invalid("metadata_url", str(failure)) from None
    return {"metadata_xml": text, "metadata_url": url, "metadata_certificate": certificate}


class ProvidersResource(Resource):
    """/v1/sso/providers"""

    rights = {"GET": Right.SSO_READ, "POST": Right.SSO_MANAGE}
    calls_out = True

    @extend_schema(
        operation_id="list_identity_providers",
        parameters=paging.PARAMETERS,
        responses=paged(IdentityProviderAnswer),
    )
    def get(self, request: Request) -> Response:
        """List the identity providers, the oldest first."""
        with self.scope(request):
            rows = selectors.providers()
        return Response(paging.page(request, rows, lambda row: row.pk, _shown))

    @extend_schema(operation_id="add_identity_provider", request=NewProvider, responses={201: IdentityProviderAnswer})
    def post(self, request: Request) -> Response:
        """Add a provider. Copy `ours` to its side, test it in the console, then switch it on."""
        values = read_body(NewProvider, request)
        protocol, actor = values.pop("protocol"), self.principal(request).actor
        _only(values, protocol)
        if protocol == Protocol.SAML:
            is_unsolicited_allowed = values.pop("is_unsolicited_allowed", False)
            wanted = _metadata(values) | values
            with self.scope(request):
                added = services.add(actor=actor, **wanted)
                if is_unsolicited_allowed:
                    added = _change(actor, added, {"is_unsolicited_allowed": True})
        else:
            for name in ("issuer", "client_id"):
                if name not in values:
                    raise Invalid(name, "An OpenID provider needs it.")
            with self.scope(request):
                added = oidc.add(actor=actor, **{"client_secret": ""} | values)
        return Response(_shown(added), status=status.HTTP_201_CREATED)


class ProviderResource(Resource):
    """/v1/sso/providers/{provider_id}"""

    rights = {"GET": Right.SSO_READ, "PATCH": Right.SSO_MANAGE, "DELETE": Right.SSO_MANAGE}

    @extend_schema(operation_id="get_identity_provider", responses=IdentityProviderAnswer)
    def get(self, request: Request, provider_id: UUID) -> Response:
        """Get an identity provider."""
        with self.scope(request):
            return Response(_shown(selectors.provider(provider_id)))

    @extend_schema(operation_id="update_identity_provider", request=ProviderChange, responses=IdentityProviderAnswer)
    def patch(self, request: Request, provider_id: UUID) -> Response:
        """Change a provider, or switch it on or off. Sessions that it opened end when it is switched off."""
        values = read_body(ProviderChange, request)
        is_on, actor = values.pop("is_on", None), self.principal(request).actor
        with self.scope(request):
            protocol = selectors.provider(provider_id).protocol
        _only(values, protocol)
        if {"metadata", "metadata_url"} & values.keys():
            values |= _metadata(values)
        with self.scope(request):
            if values:
                _change(actor, selectors.provider(provider_id), values)
            if is_on is not None:
                services.switch(actor=actor, provider_id=provider_id, is_on=is_on)
            return Response(_shown(selectors.provider(provider_id)))

    @extend_schema(operation_id="remove_identity_provider", responses={204: None})
    def delete(self, request: Request, provider_id: UUID) -> Response:
        """Remove a provider and who is linked by it. Accounts and memberships stay; its sessions end."""
        with self.scope(request):
            services.remove(actor=self.principal(request).actor, provider_id=provider_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class SignInsResource(Resource):
    """/v1/sso/providers/{provider_id}/sign-ins"""

    rights = {"GET": Right.SSO_READ}

    @extend_schema(
        operation_id="list_identity_provider_sign_ins",
        parameters=[SignInQuery, *paging.PARAMETERS],
        responses=paged(SignInAnswer),
    )
    def get(self, request: Request, provider_id: UUID) -> Response:
        """List the answers of a provider in the last 30 days, newest first: who came, and why somebody was refused."""
        asked = read_query(SignInQuery, request)
        limit, before = paging.limit_of(request), paging.cursor_of(request)
        with self.scope(request):
            selectors.provider(provider_id)
            rows = traces.answers(provider_id=provider_id, before=before, limit=limit + 1, **asked)
        return Response(paging.answer(rows, limit, lambda row: row.pk, _shown_sign_in))


def _change(actor: Any, provider: IdentityProvider, values: dict[str, Any]) -> IdentityProvider:
    """Change what is named, and keep the rest."""
    who: dict[str, Any] = {"actor": actor, "actor_role": KEY_RANK, "provider_id": provider.pk}
    kept = ["name", "email_attribute", "name_attribute", "default_role"]
    if provider.protocol == Protocol.SAML:
        kept += ["is_unsolicited_allowed", "metadata_certificate"]
        source = {"metadata_xml": provider.metadata, "metadata_url": provider.metadata_url}
        if "metadata_xml" in values:
            source = {"metadata_certificate": "", "metadata_url": ""}
        now = {name: getattr(provider, name) for name in kept}
        return services.change(**who, **now | source | values)
    kept += ["issuer", "client_id", "token_auth_method", "more_scopes"]
    now = {name: getattr(provider, name) for name in kept} | {"client_secret": ""}
    return oidc.change(**who, **now | values)
