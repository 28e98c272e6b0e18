"""Speaks SAML 2.0 with browsers: sends them to the identity provider, takes its answer, and opens their session.

The answer comes by a form from elsewhere, with none of our cookies. It is kept, and the browser comes for it by an
address of ours, with the cookie that it got when it was sent away: so nobody is signed in by an answer that somebody
else asked for, and no cookie must be open to other sites.
"""

from typing import Any
from uuid import UUID

from django.core import signing
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from tenancy.errors import NotFound
from tenancy.sso import cookies, sessions
from tenancy.sso.answers import provider_or_404, refused, tested
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.providers import sign_in
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import envelopes, requests
from tenancy.sso.saml.configuration import ProgramMissing
from tenancy.sso.setup.browsers import tester

SALT = "sso.browser"
COOKIE = "sso_{}"
TEST = "sso:saml:test:{}"  # a request that only tries a provider out: where whoever asked goes back to
METADATA_TYPE = "application/samlmetadata+xml"  # SAML 2.0 Metadata, appendix A


@require_safe
def login(request: HttpRequest, provider_id: UUID) -> HttpResponse:
    """Send the browser to the identity provider; `?next=` is a path of ours.

    `?test=1` by whoever sets it up only tries it.
    `?ask=1` only offers it, by a link: for whoever comes by a form, which browsers let lead to no other site.
    """
    provider = provider_or_404(provider_id)
    is_test = request.GET.get("test") == "1"
    found = tester(request, provider) if is_test else None
    if is_test and found is None:
        raise Http404
    if not is_test and provider.state != IdentityProvider.State.ACTIVE:
        return refused(request, provider, Refused("not_in_use"))
    onward = request.GET.get("next", "/")
    if not url_has_allowed_host_and_scheme(onward, allowed_hosts=None):
        onward = "/"
    if request.GET.get("ask") == "1":
        address = f"{request.path}?{urlencode({'next': onward})}"
        return render(request, "sso/required.html", {"address": address, "provider": provider})
    is_again = sessions.provider_of(request) == provider_id
    try:
        asked = requests.ask(provider, is_forced=is_again)
    except Refused as refusal:
        return refused(request, provider, refusal)
    except ProgramMissing as failure:
        return missing(request, failure)
    if found is not None:
        cache.set(TEST.format(asked.request_id), found.address, int(sign_in.BROWSER_HAS.total_seconds()))
    response = HttpResponseRedirect(asked.url)
    response.allowed_schemes = ["https", "http"]  # checked when the metadata was read
    _remember(response, asked.request_id, {"next": onward, "is_test": is_test, "is_again": is_again}, provider_id)
    add_never_cache_headers(response)
    return response


@csrf_exempt
@require_POST
def acs(request: HttpRequest, provider_id: UUID) -> HttpResponse:
    """Take an answer of the identity provider (SAML 2.0 Bindings, HTTP POST); RelayState is not looked at.

    Who tries a provider out goes back to where they began when it is refused: without cookies, we know by the request.
    """
    posted = request.POST.get("SAMLResponse", "")
    try:
        kept = sign_in.receive(provider_id=provider_id, posted=posted)
    except NotFound:
        raise Http404 from None
    except Refused as refusal:
        if address := cache.get(TEST.format(envelopes.request_named_in(posted))):
            return _back(address, refusal)
        return refused(request, provider_or_404(provider_id), refusal)
    except ProgramMissing as failure:
        return missing(request, failure)
    response = redirect("saml_done", provider_id=provider_id, sign_in_id=kept.pk)
    response.status_code = 303
    if not kept.in_response_to:
        _remember(response, str(kept.pk), {"next": "/", "is_test": False, "is_again": False}, provider_id)
    return response


@require_safe
def done(request: HttpRequest, provider_id: UUID, sign_in_id: UUID) -> HttpResponse:
    """The browser comes for its answer: sign in who it is about, or show a test's."""
    provider, named = provider_or_404(provider_id), ""
    try:
        kept = sign_in.find(provider=provider, sign_in_id=sign_in_id)
        named = kept.in_response_to or str(kept.pk)
        remembered = _remembered(request, named, provider_id)
        if remembered is None:
            refusal = Refused("other_browser")
            sign_in.refuse(provider, refusal, kept)
            raise refusal
        response = tested(request, kept) if remembered["is_test"] else _sign_in(request, kept, remembered)
    except Refused as refusal:
        if address := cache.get(TEST.format(named)):
            return _back(address, refusal)
        return refused(request, provider, refusal)
    response.delete_cookie(COOKIE.format(named), path=cookies.PATH)
    add_never_cache_headers(response)
    return response


@require_safe
def metadata(request: HttpRequest, provider_id: UUID) -> HttpResponse:
    """What an identity provider needs to know of us, as SAML metadata."""
    try:
        return HttpResponse(requests.describe(provider_or_404(provider_id)), content_type=METADATA_TYPE)
    except ProgramMissing as failure:
        return missing(request, failure)


def _sign_in(request: HttpRequest, kept: SignIn, remembered: dict[str, Any]) -> HttpResponse:
    arrived = sign_in.complete(kept)
    return sessions.open_session(
        request,
        arrived,
        onward=remembered["next"],
        is_again=remembered["is_again"],
        known_as={"subject": kept.subject, "session": kept.session_index, **(kept.name_id or {})},
    )


def _back(address: str, refusal: Refused) -> HttpResponse:
    """To the page from which a test began; it shows the reason."""
    response = HttpResponseRedirect(f"{address}?{urlencode({'refused': refusal.code})}")
    response.status_code = 303
    return response


def _remember(response: HttpResponse, name: str, what: dict[str, Any], provider_id: UUID) -> None:
    signed = signing.dumps({**what, "name": name, "provider": str(provider_id)}, salt=SALT)
    cookies.keep(response, COOKIE.format(name), signed, sign_in.BROWSER_HAS)


def _remembered(request: HttpRequest, name: str, provider_id: UUID) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = signing.loads(
            request.COOKIES.get(COOKIE.format(name), ""), salt=SALT, max_age=sign_in.BROWSER_HAS
        )
    except signing.BadSignature:
        return None
    return found if found["name"] == name and found["provider"] == str(provider_id) else None


def missing(request: HttpRequest, failure: ProgramMissing) -> HttpResponse:
    """The page that says what this machine lacks."""
    response = render(request, "sso/unavailable.html", {"reason": str(failure)}, status=503)
    response.headers["Retry-After"] = "300"
    return response
