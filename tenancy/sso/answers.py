"""Answers browsers where the protocols do it alike: no such provider, a refusal, a test that came through."""

from http import HTTPStatus
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers

from tenancy.errors import NotFound
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.oidc import discovery
from tenancy.sso.providers import selectors, sign_in
from tenancy.sso.providers.reasons import REASONS, Refused
from tenancy.sso.setup.browsers import tester

UNREACHABLE = "not_reachable"
Protocol = IdentityProvider.Protocol


def provider_or_404(provider_id: UUID, protocol: Protocol = Protocol.SAML) -> IdentityProvider:
    """The provider, which speaks the protocol. Raises Http404."""
    try:
        with scope(selectors.organization_of(provider_id, protocol)):
            return selectors.provider(provider_id)
    except NotFound:
        raise Http404 from None


def refused(request: HttpRequest, provider: IdentityProvider, refusal: Refused) -> HttpResponse:
    """The page that says why, and what helps; 503 where it is the provider that cannot be reached."""
    is_away = refusal.code == UNREACHABLE
    context = {"reason": REASONS[refusal.code], "code": refusal.code, "provider": provider}
    status = HTTPStatus.SERVICE_UNAVAILABLE if is_away else HTTPStatus.FORBIDDEN
    response = render(request, "sso/refused.html", context, status=status)
    if is_away:
        response.headers["Retry-After"] = str(discovery.PAUSE)
    add_never_cache_headers(response)
    return response


def tested(request: HttpRequest, kept: SignIn) -> HttpResponse:
    """Back to where a test began. Raises Http404 for whoever began none, or Refused."""
    found = tester(request, kept.provider)
    if found is None:
        raise Http404
    sign_in.complete_test(kept, actor=found.actor)
    return redirect(found.address)
