"""How far single sign-on is, in five steps that watch themselves; and the way in for who comes by a setup link."""

from typing import Any

from django.contrib import messages
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.web.errors import page as error_page
from capsule_cloud.web.sso_domains import told as told_domain
from capsule_cloud.web.sso_visitors import Visitor, ended, for_guests, for_members
from tenancy.middleware import client_ip
from tenancy.roles import Right
from tenancy.scim.directories.selectors import directories
from tenancy.sso.domains.selectors import domains
from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers.selectors import providers
from tenancy.sso.setup import browsers, selectors, services
from tenancy.sso.setup.services import LinkOver, LinkUnknown

MOST_GUESSES, GUESSES_COUNT_FOR = 20, 600  # from one address, in so many seconds


@require_safe
def start(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """The five steps with what is next; it asks again by itself until all are done."""
    part = "web/sso_start_part.html" if request.headers.get("HX-Request") else "web/sso_start.html"
    return visitor.show(request, part, **_seen(visitor))


def _seen(visitor: Visitor) -> dict[str, Any]:
    rows = providers()
    return {
        "progress": selectors.progress(),
        "domains": [told_domain(one) for one in domains()],
        "providers": rows,
        "untested": next((one for one in rows if one.tested_at is None), None),
        "waiting": next((one for one in rows if one.tested_at and one.state != IdentityProvider.State.ACTIVE), None),
        "begun": selectors.begun() if not rows else None,
        "directories": directories() if visitor.guest else [],
        "links": [one for one in selectors.links() if one.is_open] if visitor.member else [],
    }


member_start = for_members(Right.SSO_READ)(start)
_guest_start = for_guests(start)


def guest_start(request: HttpRequest) -> HttpResponseBase:
    """The same for a guest. Who has come by a link a moment ago is asked whether to begin: programs open links, too."""
    secret = browsers.carried(request)
    if not secret or browsers.holds(request, secret):
        return _guest_start(request)
    try:
        guest = services.look(secret)
    except LinkOver as over:
        return ended(request, over)
    except LinkUnknown:
        raise Http404 from None
    response = render(request, "web/sso_guest_begin.html", {"guest": guest})
    add_never_cache_headers(response)
    return response


@require_safe
def open_link(request: HttpRequest, token: str) -> HttpResponse:
    """A link is opened: its secret leaves the address at once. Links that are none are 404, and guesses are limited."""
    response = _opened(request, token)
    response.headers["Referrer-Policy"] = "no-referrer"
    add_never_cache_headers(response)
    return response


def _opened(request: HttpRequest, token: str) -> HttpResponse:
    guesses = f"sso:setup:guesses:{client_ip(request)}"
    if cache.get(guesses, 0) >= MOST_GUESSES:
        return error_page(request, 429)
    if browsers.holds(request, token):
        return redirect("sso_setup_start")
    try:
        services.look(token)
    except LinkOver as over:
        return ended(request, over)
    except LinkUnknown:
        cache.add(guesses, 0, GUESSES_COUNT_FOR)
        cache.incr(guesses)
        return error_page(request, 404)
    response = redirect("sso_setup_start")
    browsers.carry(response, token)
    return response


@require_POST
def begin(request: HttpRequest) -> HttpResponse:
    """Take the link for this browser: no other can from then on."""
    try:
        guest, kept = services.open_link(browsers.carried(request))
    except LinkOver as over:
        return ended(request, over)
    except LinkUnknown:
        raise Http404 from None
    response = redirect("sso_setup_start")
    browsers.remember(response, guest, kept)
    return response


@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    """Let this browser forget the link; whoever made it can make another."""
    messages.success(request, "This browser can no longer set anything up.")
    response = redirect("front")
    browsers.forget(response)
    return response
