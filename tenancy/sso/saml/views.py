"""Takes and sends logouts (SAML 2.0 Profiles, 4.4): sessions end with the identity provider's, and it with ours."""

from typing import Any
from uuid import UUID

from django.contrib.auth import logout as end_session
from django.core import signing
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from tenancy.sso import sessions
from tenancy.sso.answers import provider_or_404, refused
from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers import sign_in
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import bindings, ending, leaving, logouts
from tenancy.sso.saml.configuration import ProgramMissing
from tenancy.sso.views import missing

WAITS = "sso:saml:logout:{}"  # a request of ours: whose answer it waits for


@require_safe
def logout(request: HttpRequest, provider_id: UUID) -> HttpResponse:
    """Take a logout of the identity provider, or its answer to ours, in a signed address (HTTP-Redirect)."""
    return _taken(request, provider_id, request.GET)


@csrf_exempt
@require_POST
def logout_post(request: HttpRequest, provider_id: UUID) -> HttpResponse:
    """Take them in a form (HTTP-POST), in which no cookie of ours comes along."""
    return _taken(request, provider_id, request.POST)


@require_safe
def leave(request: HttpRequest, provider_id: UUID) -> HttpResponse:
    """Whoever has signed out here goes on to the identity provider, by a page: forms lead to no other site."""
    provider = provider_or_404(provider_id)
    try:
        to = signing.loads(request.GET.get("to", ""), salt=leaving.SALT, max_age=sign_in.FINISHED_WITHIN)
    except signing.BadSignature:
        raise Http404 from None
    if to["provider"] != str(provider_id):
        raise Http404
    cache.set(WAITS.format(to["id"]), to["provider"], int(sign_in.BROWSER_HAS.total_seconds()))
    response = render(request, "sso/leaving.html", {"provider": provider, "address": to["url"]})
    add_never_cache_headers(response)
    return response


def _taken(request: HttpRequest, provider_id: UUID, fields: QueryDict) -> HttpResponse:
    provider = provider_or_404(provider_id)
    try:
        if bindings.REQUEST in fields:
            response = _asked(request, provider)
        elif bindings.RESPONSE in fields:
            response = _answered(request, provider)
        else:
            raise Http404
    except ProgramMissing as failure:
        return missing(request, failure)
    add_never_cache_headers(response)
    return response


def _asked(request: HttpRequest, provider: IdentityProvider) -> HttpResponse:
    source, state = _source(request, bindings.REQUEST)
    browser = sessions.known_as(request)
    status = logouts.SUCCESS
    try:
        asked = logouts.read_request(provider, **source)
    except Refused as refusal:
        return _disbelieved(request, provider, refusal)
    try:
        ending.end(provider, asked, browser)
    except Refused as refusal:
        if refusal.code != "unknown_subject":
            return _disbelieved(request, provider, refusal)
        ending.refuse(provider, refusal)
        status = logouts.UNKNOWN
    else:
        if ending.concerns(asked, browser):
            end_session(request)
    address = ending.answer(provider, asked.request_id, status, state)
    return HttpResponseRedirect(address) if address else _signed_out(request, provider, is_confirmed=True)


def _answered(request: HttpRequest, provider: IdentityProvider) -> HttpResponse:
    """The answer ends nothing: here the session is over already. It is believed once, for a request of ours."""
    source, _ = _source(request, bindings.RESPONSE)
    try:
        request_id, is_confirmed = logouts.read_answer(provider, **source)
        if cache.get(WAITS.format(request_id)) != str(provider.pk):
            raise Refused("unsolicited", "It answers no request of ours.")
        cache.delete(WAITS.format(request_id))
    except Refused as refusal:
        ending.refuse(provider, refusal)
        is_confirmed = False
    return _signed_out(request, provider, is_confirmed=is_confirmed)


def _source(request: HttpRequest, field: str) -> tuple[dict[str, str], str]:
    """Where the message is, as `logouts` takes it, and the state that its sender wants back."""
    if request.method == "POST":
        return {"posted": request.POST[field]}, request.POST.get("RelayState", "")[: bindings.LONGEST_STATE]
    query = request.META["QUERY_STRING"]
    return {"query": query}, bindings.relay_state(query)


def _disbelieved(request: HttpRequest, provider: IdentityProvider, refusal: Refused) -> HttpResponse:
    ending.refuse(provider, refusal)
    return refused(request, provider, refusal)


def _signed_out(request: HttpRequest, provider: IdentityProvider, *, is_confirmed: bool) -> HttpResponse:
    context: dict[str, Any] = {"provider": provider, "is_confirmed": is_confirmed}
    return render(request, "sso/signed_out.html", context)
