"""Shows pages to whoever sets single sign-on up: a member in the console, or the browser that took a setup link."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.cache import add_never_cache_headers

from capsule_cloud.web.console import Result, attempt, page, show
from tenancy.access import MemberPrincipal
from tenancy.audit.services import Actor
from tenancy.roles import Right
from tenancy.scope import scope
from tenancy.sso.setup import browsers
from tenancy.sso.setup.services import Guest, LinkOver

View = Callable[..., HttpResponseBase]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Exactly one of `member` and `guest` is there."""

    member: MemberPrincipal | None = None
    guest: Guest | None = None

    @property
    def organization_id(self) -> UUID:
        """What they set up."""
        return (self.member or self.guest).organization_id  # type: ignore[union-attr]  # one of them is there

    @property
    def actor(self) -> Actor:
        """As the audit trail names them."""
        return (self.member or self.guest).actor  # type: ignore[union-attr]  # one of them is there

    @property
    def as_member(self) -> MemberPrincipal:
        """The member, on pages that guests never see."""
        if self.member is None:
            raise PermissionDenied
        return self.member

    def address(self, name: str, *ids: Any) -> str:
        """Where a page is for them: `domain` is `sso_domain` in the console, `sso_setup_domain` for a guest."""
        return address(self.member, name, *ids)

    def go(self, name: str, *ids: Any) -> HttpResponse:
        """Send the browser to a page of theirs."""
        return redirect(self.address(name, *ids))

    def show(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        """A page in the frame of the console, or in the plain one of guests."""
        if self.member is not None:
            return show(request, self.member, template, "sso", **context)
        status = 422 if "form" in context and context["form"].errors else 200
        frame = {"layout": "web/sso_guest.html", "guest": self.guest, "is_dialog": False, "can": {"SSO_MANAGE": True}}
        return render(request, template, frame | context, status=status)

    def attempt(self, form: forms.Form, call: Callable[[], Result], *, is_scoped: bool = True) -> Result | None:
        """As `console.attempt`."""
        return attempt(self, form, call, is_scoped=is_scoped)


def address(member: MemberPrincipal | None, name: str, *ids: Any) -> str:
    """Where a page is, for a member or (None) for a guest."""
    if member is not None:
        return reverse(f"sso_{name}", args=[member.slug, *ids])
    return reverse(f"sso_setup_{name}", args=ids)


def for_members(right: Right, *, is_scoped: bool = True) -> Callable[[View], View]:
    """A view `(request, visitor, …)` of the console."""

    def decorate(view: View) -> View:
        @wraps(view)
        def seen(request: HttpRequest, member: MemberPrincipal, **kwargs: Any) -> HttpResponseBase:
            return view(request, Visitor(member=member), **kwargs)

        return page(right, is_scoped=is_scoped)(seen)

    return decorate


def for_guests(view: View, *, is_scoped: bool = True) -> View:
    """The same view for the browser that has taken a setup link; nobody else learns that there is anything."""

    @wraps(view)
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        try:
            guest = browsers.guest_of(request)
        except LinkOver as over:
            return ended(request, over)
        if guest is None:
            raise Http404
        with scope(guest.organization_id) if is_scoped else nullcontext():
            response = view(request, Visitor(guest=guest), **kwargs)
        add_never_cache_headers(response)
        return response

    return guarded


def ended(request: HttpRequest, over: LinkOver) -> HttpResponse:
    """The page of a link that opens nothing any more, with whom to ask."""
    response = render(request, "web/sso_guest_over.html", {"sentence": str(over), "maker": over.maker}, status=410)
    add_never_cache_headers(response)
    return response
