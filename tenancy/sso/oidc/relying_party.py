"""Is the relying party to one OpenID provider: allauth's, made from the provider's row and held to stricter rules.

allauth makes the requests and keeps their order. It sends no nonce, believes a token's e-mail address, fetches what it
is told to and looks for accounts by itself: each of that ends here.
"""

import re
from collections.abc import Mapping
from secrets import token_urlsafe
from typing import Any
from urllib.parse import quote_plus

import requests
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Client, OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from capsule_cloud.lib import crypto
from tenancy.names import printable
from tenancy.sso.models import IdentityProvider
from tenancy.sso.oidc import addresses, discovery, outgoing, tokens
from tenancy.sso.oidc.discovery import Json
from tenancy.sso.providers.reasons import Refused

SCOPES = ["openid", "email", "profile"]
LONGEST_SAID = 200
# How people are asked anew. Google refuses `login`: it can only have them choose their account.
PROMPTS = {"https://accounts.google.com": "select_account"}
_SAID = re.compile(r'"(error(?:_description)?)"\s*:\s*"([^"\\]*)"')


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth's hooks: it knows no providers but the one that a view of ours hands it, and no accounts at all."""

    def list_apps(self, request: HttpRequest, provider: Any = None, client_id: Any = None) -> list[SocialApp]:
        """None: an organization's provider is no application of everybody's."""
        return []

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Never: who may come in new is `providers.sign_in`'s to say."""
        return False

    def get_requests_session(self) -> requests.Session:
        """By the one door to customers' addresses."""
        return outgoing.session()

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """End allauth's part: who it is, and whether they may come in, is `providers.sign_in`'s to say."""
        sociallogin.provider.claims = sociallogin.account.extra_data
        raise ImmediateHttpResponse(HttpResponse())

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        """Raise Refused, for the trace and the page that says why."""
        if exception is None:
            raise Refused("status", _shown(f"{request.GET.get('error')}: {request.GET.get('error_description')}"))
        if isinstance(exception, requests.ConnectionError):
            raise Refused("not_reachable", str(exception))
        raise Refused("code_refused", _told(exception))


class Client(OAuth2Client):  # type: ignore[misc]
    """allauth's client of the token endpoint."""

    def get_redirect_url(self, authorization_url: str, scope: list[str], extra_params: Mapping[str, str]) -> str:
        """The authorization request; an endpoint may have a query of its own (RFC 6749, section 3.1)."""
        url: str = super().get_redirect_url("", scope, extra_params)
        joint = "&" if "?" in authorization_url else "?"
        return f"{authorization_url}{joint}{url.removeprefix('?')}"

    def get_access_token(self, code: str, pkce_code_verifier: str | None = None, extra_data: Any = None) -> Json:
        """The two tokens that we need, and nothing else that comes with them."""
        if self.basic_auth:  # RFC 6749, section 2.3.1
            for part in ("consumer_key", "consumer_secret"):
                setattr(self, part, quote_plus(getattr(self, part)))
        try:
            said = super().get_access_token(code, pkce_code_verifier, extra_data)
            found = {name: said.get(name) for name in ("access_token", "id_token")}
        except (ValueError, TypeError, AttributeError, RecursionError):  # it takes the answer for good JSON
            raise OAuth2Error("The answer is no JSON object.") from None
        if not _is_token(found["access_token"]):
            raise OAuth2Error("There is no access token in the answer.")
        if not _is_token(found["id_token"]):
            raise Refused("no_id_token")
        return found


class RelyingPartyAdapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """allauth's steps with one provider."""

    client_class = Client

    def __init__(self, request: HttpRequest, relying_party: "RelyingParty") -> None:
        super().__init__(request, str(relying_party.row.pk))
        self.relying_party, self.row = relying_party, relying_party.row

    def get_provider(self) -> "RelyingParty":
        """The one that it was made for."""
        return self.relying_party

    @property
    def openid_config(self) -> Json:
        """The discovery document, checked and kept."""
        return discovery.document(self.row)

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        """Ours, whatever host the request names."""
        return addresses.redirect_uri(self.row.pk)

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any) -> SocialLogin:
        """Who the tokens are about: a verified ID token, and what userinfo says of the same subject."""
        waiting = self.relying_party.waiting
        claims = tokens.id_token(
            self.row,
            kwargs["response"]["id_token"],
            nonce=waiting["nonce"],
            access_token=token.token,
            asked_again_at=waiting["asked_again_at"],
        )
        if "userinfo_endpoint" in self.openid_config:
            claims = _joined(claims, self._userinfo(token.token))
        account = SocialAccount(provider=str(self.row.pk), uid=claims["sub"], extra_data=claims)
        return SocialLogin(provider=self.relying_party, account=account)

    def _userinfo(self, access_token: str) -> Json:
        try:
            said = self._fetch_user_info(access_token)
        except requests.ConnectionError:
            raise
        except (requests.RequestException, ValueError, RecursionError) as failure:
            raise Refused("userinfo", _shown(str(failure))) from None
        if not isinstance(said, dict):
            raise Refused("userinfo", "It is no JSON object.")
        return said


class RelyingParty(OpenIDConnectProvider):  # type: ignore[misc]
    """What allauth calls a provider, made from a row. `waiting` is what the browser has kept since it was sent away."""

    def __init__(self, request: HttpRequest, row: IdentityProvider, waiting: Mapping[str, Any] | None = None) -> None:
        secret = "" if row.client_secret is None else crypto.unseal(row.client_secret).decode()
        app = SocialApp(
            provider=OpenIDConnectProvider.id,
            provider_id=str(row.pk),
            name=row.name,
            client_id=row.client_id,
            secret=secret,
            settings={
                "server_url": row.issuer,
                "token_auth_method": row.token_auth_method,
                "oauth_pkce_enabled": True,
                "scope": [*SCOPES, *row.more_scopes.split()],
            },
        )
        super().__init__(request, app)
        self.row, self.waiting = row, dict(waiting or {})
        self.claims: Json = {}

    def send_away(self, *, is_again: bool) -> HttpResponseRedirect:
        """To the provider; `waiting` then has what must come back. `is_again`: people show anew who they are."""
        self.waiting["nonce"] = token_urlsafe(32)
        prompt = {"prompt": PROMPTS.get(self.row.issuer, "login")} if is_again else {}
        params = {"nonce": self.waiting["nonce"], **prompt}
        with outgoing.asking(self.row.pk):
            answer: HttpResponseRedirect = self.redirect(self.request, AuthProcess.LOGIN, auth_params=params)
        return answer

    def come_back(self) -> Json:
        """Take the code to the provider: the claims about whoever has come. Raises Refused."""
        view = CallbackView.adapter_view(self.get_oauth2_adapter(self.request))
        with outgoing.asking(self.row.pk):
            view(self.request)
        return self.claims

    def get_oauth2_adapter(self, request: HttpRequest) -> RelyingPartyAdapter:
        """The steps."""
        return RelyingPartyAdapter(request, self)

    def stash_redirect_state(
        self,
        request: HttpRequest,
        process: str,
        next_url: Any = None,
        data: Any = None,
        state_id: Any = None,
        **kw: Any,
    ) -> str:
        """Keep it for the browser's cookie, so that whoever only asks costs no row."""
        self.waiting |= {"state": token_urlsafe(32), "pkce_code_verifier": kw["pkce_code_verifier"]}
        return str(self.waiting["state"])


class CallbackView(OAuth2CallbackView):  # type: ignore[misc]
    """allauth's way from the code to the tokens."""

    def _get_state(self, request: HttpRequest, provider: RelyingParty) -> tuple[dict[str, Any], None]:
        """What the browser has kept: the view has compared it with what came back."""
        return provider.waiting, None


def _joined(claims: Json, said: Json) -> Json:
    """The ID token's claims, and those of the same subject's userinfo that it lacks."""
    if said.get("sub") != claims["sub"]:
        raise Refused("userinfo", "It is about another subject than the ID token.")
    if "email" in claims and said.get("email") != claims["email"]:
        said = {name: value for name, value in said.items() if name != "email_verified"}  # of another address
    return {**said, **claims}


def _is_token(text: Any) -> bool:
    return isinstance(text, str) and text.isascii() and text.isprintable() and " " not in text


def _told(failure: Exception) -> str:
    """What the token endpoint says of a mistake, and nothing else that it sends."""
    said = dict(_SAID.findall(str(failure)))
    return _shown(": ".join(filter(None, (said.get("error"), said.get("error_description")))) or type(failure).__name__)


def _shown(text: str) -> str:
    return printable(text)[:LONGEST_SAID]
