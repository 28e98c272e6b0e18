"""Speaks OpenID Connect with browsers, and with providers that say who has signed out."""

import time
from uuid import UUID

from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from tenancy.audit import actions
from tenancy.sso import sessions
from tenancy.sso.answers import provider_or_404, refused, tested
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.oidc import browsers, discovery, logout
from tenancy.sso.oidc.claims import asserted_by, says_unverified, session_of
from tenancy.sso.oidc.discovery import Json
from tenancy.sso.oidc.relying_party import RelyingParty
from tenancy.sso.providers import sign_in
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.setup.browsers import tester

ONCE = ("state", "code", "iss", "error")  # parameters that stand in an answer at most once (RFC 6749, section 3.1)
Protocol = IdentityProvider.Protocol
LONGEST_NEXT = 1000  # browsers keep no cookie of more than 4096 bytes


@require_GET
def login(request: HttpRequest, provider_id: UUID) -> HttpResponse:
    """Send the browser to the provider; `?next=` is a path of ours.

    `?test=1` by whoever sets it up only tries it.
    `?ask=1` only offers it, by a link: for whoever comes by a form, which browsers let lead to no other site.
    """
    provider = provider_or_404(provider_id, Protocol.OIDC)
    is_test = request.GET.get("test") == "1"
    if is_test:
        if tester(request, provider) is None:
            raise Http404
    elif provider.state != IdentityProvider.State.ACTIVE:
        return refused(request, provider, Refused("not_in_use"))
    onward = request.GET.get("next", "/")
    if len(onward) > LONGEST_NEXT or not url_has_allowed_host_and_scheme(onward, allowed_hosts=None):
        onward = "/"
    if request.GET.get("ask") == "1":
        address = f"{request.path}?{urlencode({'next': onward})}"
        return render(request, "sso/required.html", {"address": address, "provider": provider})
    is_again = sessions.provider_of(request) == provider_id
    relying_party = RelyingParty(request, provider)
    try:
        response = relying_party.send_away(is_again=is_again)
    except Refused as refusal:
        sign_in.refuse(provider, refusal)
        return refused(request, provider, refusal)
    waiting = {"next": onward, "is_test": is_test, "asked_again_at": time.time() if is_again else None}
    browsers.remember(response, provider_id, relying_party.waiting["state"], waiting | relying_party.waiting)
    add_never_cache_headers(response)
    return response


@require_GET
def callback(request: HttpRequest, provider_id: UUID) -> HttpResponse:
    """The browser comes back with a code (OpenID Connect Core 1.0, section 3.1.2.5), or with the provider's refusal."""
    provider, state = provider_or_404(provider_id, Protocol.OIDC), request.GET.get("state", "")
    try:
        response = _answered(request, provider, state)
    except Refused as refusal:
        sign_in.refuse(provider, refusal)
        response = refused(request, provider, refusal)
    browsers.forget(response, state)
    add_never_cache_headers(response)
    return response


@csrf_exempt
@require_POST
def backchannel_logout(request: HttpRequest, provider_id: UUID) -> HttpResponse:
    """The provider says that somebody has signed out there (OpenID Connect Back-Channel Logout 1.0, section 2.5)."""
    provider = provider_or_404(provider_id, Protocol.OIDC)
    try:
        logout.end(provider, request.POST.get("logout_token", ""))
    except Refused as refusal:
        sign_in.refuse(provider, refusal, action=actions.LOGOUT_REFUSED)
        said = {"error": "invalid_request", "error_description": str(refusal)}
        response: HttpResponse = JsonResponse(said, status=400)
    else:
        response = HttpResponse()
    response.headers["Cache-Control"] = "no-store"
    return response


def _answered(request: HttpRequest, provider: IdentityProvider, state: str) -> HttpResponse:
    waiting = browsers.remembered(request, provider.pk, state)
    if waiting is None:
        raise Refused("other_browser")
    if not cache.add(f"sso:oidc:state:{state}", 1, int(sign_in.BROWSER_HAS.total_seconds())):
        raise Refused("replayed", "This answer has come before.")
    if any(len(request.GET.getlist(name)) > 1 for name in ONCE):
        raise Refused("mixed_up", "A parameter stands in the answer twice.")
    _check_issuer(provider, request.GET.get("iss"))
    if not waiting["is_test"] and provider.state != IdentityProvider.State.ACTIVE:
        raise Refused("not_in_use")
    claims = RelyingParty(request, provider, waiting).come_back()
    kept = sign_in.keep(provider, asserted_by(claims))
    try:
        if says_unverified(claims):
            raise Refused("email_unverified")
        return tested(request, kept) if waiting["is_test"] else _signed_in(request, kept, waiting, claims)
    except Refused as refusal:
        sign_in.refuse(provider, refusal, kept)
        raise


def _check_issuer(provider: IdentityProvider, issuer: str | None) -> None:
    """Raise Refused where another provider has answered (RFC 9207)."""
    always = discovery.document(provider)["authorization_response_iss_parameter_supported"]
    if (issuer is None and always) or (issuer is not None and issuer != provider.issuer):
        raise Refused("mixed_up", f"The answer's issuer is {issuer!r}.")


def _signed_in(request: HttpRequest, kept: SignIn, waiting: Json, claims: Json) -> HttpResponse:
    return sessions.open_session(
        request,
        sign_in.complete(kept),
        onward=waiting["next"],
        is_again=waiting["asked_again_at"] is not None,
        method=IdentityProvider.Protocol.OIDC,
        known_as={"subject": kept.subject, "session": session_of(claims)},
    )
