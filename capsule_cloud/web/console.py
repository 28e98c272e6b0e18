"""The frame of the console: who may open a page, in which organization, and what stands around it."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any, Protocol, TypeVar, cast
from uuid import UUID

from allauth.account.decorators import reauthentication_required
from allauth.account.internal.flows.reauthentication import suspend_request
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.cache import add_never_cache_headers, patch_vary_headers

from billing.selectors.dunning import banner
from capsule_cloud.memory.limits import InvalidInput
from capsule_cloud.memory.selectors.capsules import CapsuleNotFound
from capsule_cloud.memory.selectors.sessions import SessionNotFound
from capsule_cloud.memory.services.sessions import SessionSealed
from capsule_cloud.memory.services.triggers import TriggerNotFound
from capsule_cloud.web.sso_banner import certificate_banner
from tenancy.access import MemberPrincipal
from tenancy.audit import actions
from tenancy.audit.attempts.services import attempt as attempt_refused
from tenancy.audit.attempts.services import reading
from tenancy.audit.services import Target
from tenancy.errors import Forbidden, Invalid, NotFound, TenancyError
from tenancy.models import Project, User
from tenancy.roles import Right
from tenancy.scope import scope
from tenancy.selectors import projects
from tenancy.sso.enforcement import lacks_second_factor, way_in
from tenancy.sso.sessions import has_shown_again, memberships_of, provider_of

View = Callable[..., HttpResponseBase]
Result = TypeVar("Result")
MISSING = (NotFound, CapsuleNotFound, SessionNotFound, TriggerNotFound)
REFUSED = (TenancyError, InvalidInput, SessionSealed)
LAST_ORGANIZATION, LAST_PROJECT = "last_organization", "last_project"

_NAVIGATION: tuple[tuple[str, tuple[tuple[str, str, str, Right], ...]], ...] = (
    ("", (("Overview", "home", "layout-dashboard", Right.PROJECTS_READ),)),
    (
        "Build",
        (
            ("Projects", "projects", "boxes", Right.PROJECTS_READ),
            ("API keys", "keys", "key-round", Right.KEYS_READ),
            ("Webhooks", "webhooks", "webhook", Right.WEBHOOKS_READ),
        ),
    ),
    (
        "Data",
        (
            ("Memory", "memory", "brain", Right.MEMORY_READ),
            ("Sessions", "sessions", "messages-square", Right.MEMORY_READ),
        ),
    ),
    (
        "Organization",
        (
            ("Members", "members", "users", Right.MEMBERS_READ),
            ("Usage", "usage", "chart-column", Right.USAGE_READ),
            ("Billing", "billing", "credit-card", Right.BILLING_READ),
            ("Audit log", "audit", "scroll-text", Right.AUDIT_READ),
            ("Single sign-on", "sso_start", "lock", Right.SSO_READ),
            ("Settings", "settings", "settings", Right.PROJECTS_READ),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of the sidebar."""

    label: str
    url: str
    icon: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class LinkGroup:
    """Entries of the sidebar under one title."""

    title: str
    items: tuple[Link, ...]


def sensitive(view: View) -> View:
    """Asks again who it is: for the password or passkey, or the identity provider that opened the session."""
    by_account = cast("View", reauthentication_required(view))

    @wraps(view)
    def asked(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponseBase:
        if provider_of(request) is None:
            return by_account(request, *arguments, **named)
        if not has_shown_again(request):
            return cast("HttpResponse", suspend_request(request, reverse("account_reauthenticate")))
        return view(request, *arguments, **named)

    return asked


def signed_in(request: HttpRequest) -> User:
    """The person behind a request that `login_required` let through."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def page(
    right: Right, *, when_closed: bool = False, is_scoped: bool = True, somewhere: bool = False
) -> Callable[[View], View]:
    """A view `(request, member, …)` of one organization, run inside its scope.

    Anonymous: to the sign-in page. Whoever must come by single sign-on: there. A stranger: 404. A member without
    `right`: 403. Without a second factor that the organization requires: to the page that sets one up. A closed
    organization shows only views with `when_closed`. A view without `is_scoped` opens its own scopes: it asks others in
    between, and never in an open transaction. At a `project`, a role in it counts, too; a view with `somewhere` lets in
    whoever has the right in any project, and asks again once it knows in which.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, slug: str, **kwargs: Any) -> HttpResponseBase:
            user = signed_in(request)
            member = _member_at(request, slug, kwargs.get("project"))
            if address := way_in(request, user, member):
                return redirect(address)
            if lacks_second_factor(request, user, member):
                messages.warning(request, f"{member.name} requires a second factor: set one up to go on.")
                return redirect("mfa_index")
            if not (member.has_somewhere(right) if somewhere else member.has(right)):
                _tell_of_refusal(request, member)
                raise PermissionDenied
            if member.closed_at and not when_closed:
                return redirect("settings", slug=slug)
            _keep(request, LAST_ORGANIZATION, slug)
            try:
                with scope(member.organization_id) if is_scoped else nullcontext():
                    response = view(request, member, **kwargs)
                    if right is Right.AUDIT_READ and response.status_code < HTTPStatus.BAD_REQUEST:
                        reading(organization_id=member.organization_id, page=_name_of(request), actor=member.actor)
            except PermissionDenied:
                _tell_of_refusal(request, member)
                raise
            add_never_cache_headers(response)
            return response

        return login_required(guarded)

    return decorate


def _member_at(request: HttpRequest, slug: str, project: str | None) -> MemberPrincipal:
    member = next((one for one in memberships_of(request) if one.slug == slug), None)
    if member is None:
        raise Http404
    return member.in_project(project) if project else member


def _name_of(request: HttpRequest) -> str:
    """The page's name in the table of URLs, without the ids of its address."""
    return (request.resolver_match and request.resolver_match.url_name) or ""


def _tell_of_refusal(request: HttpRequest, member: MemberPrincipal) -> None:
    name = _name_of(request)
    attempt_refused(
        organization_id=member.organization_id,
        action=actions.ACCESS_DENIED,
        actor=member.actor,
        target=Target("page", name, name.replace("_", " ")),
        metadata={"code": "forbidden", "method": str(request.method), "path": name},
    )


def show(
    request: HttpRequest, member: MemberPrincipal, template: str, section: str, status: int = 200, **context: Any
) -> HttpResponse:
    """Render a page of the console within the member's scope; asked with `X-Dialog`, the same without the frame.

    A `form` with errors makes it a 422.
    """
    if "form" in context and context["form"].errors:
        status = 422
    is_dialog = "X-Dialog" in request.headers
    frame = {
        "layout": "web/dialog.html" if is_dialog else "web/console.html",
        "is_dialog": is_dialog,
        "member": member,
        "can": {right.name: member.has(right) for right in Right},
        "navigation": navigation(member, section),
        "banner": banner(),
        "by_provider": provider_of(request) is not None,  # such a session does not open the account
        "certificate": certificate_banner() if member.has(Right.SSO_READ) and member.closed_at is None else None,
    }
    response = render(request, template, frame | context, status=status)
    patch_vary_headers(response, ["X-Dialog", "HX-Request"])
    return response


def navigation(member: MemberPrincipal, section: str) -> list[LinkGroup]:
    """The sidebar: only what the member may open."""
    groups = []
    for title, entries in _NAVIGATION:
        items = tuple(
            Link(label, reverse(name, kwargs={"slug": member.slug}), icon, name.removesuffix("_start") == section)
            for label, name, icon, right in entries
            if member.has(right) and (member.closed_at is None or name == "settings")
        )
        if items:
            groups.append(LinkGroup(title, items))
    return groups


class Somebody(Protocol):
    """Whoever works for one organization."""

    @property
    def organization_id(self) -> UUID:
        """Which it is."""


def attempt(who: Somebody, form: forms.Form, call: Callable[[], Result], *, is_scoped: bool = True) -> Result | None:
    """Run one service call in a savepoint with what was typed; None when nothing was posted, or something is wrong.

    An expected failure becomes an error of the form. A call that is not scoped opens its own. Raises Http404 for what
    is not there.
    """
    if not form.is_valid():  # a form without data is not
        return None
    try:
        with scope(who.organization_id) if is_scoped else nullcontext():
            return call()
    except MISSING as failure:
        raise Http404 from failure
    except Invalid as failure:
        form.add_error(failure.field if failure.field in form.fields else None, str(failure))
    except REFUSED as failure:
        form.add_error(None, str(failure))
    return None


def perform(request: HttpRequest, member: MemberPrincipal, call: Callable[[], Result], done: str) -> Result | None:
    """Run one service call of a button; `done` or the reason of an expected failure becomes the message."""
    try:
        with scope(member.organization_id):
            result = call()
    except MISSING as failure:
        raise Http404 from failure
    except Forbidden as failure:
        raise PermissionDenied from failure
    except REFUSED as failure:
        messages.error(request, str(failure))
        return None
    messages.success(request, done)
    return result


def asked(request: HttpRequest, *names: str) -> dict[str, str]:
    """The filters of a list as they were typed, without what PostgreSQL cannot compare with (NUL)."""
    return {name: request.GET.get(name, "").replace("\x00", "").strip() for name in names}


def asked_id(request: HttpRequest, name: str) -> UUID | None:
    """An id of the query, None without one. Raises Http404 for what is none."""
    text = request.GET.get(name, "")
    try:
        return UUID(text) if text else None
    except ValueError:
        raise Http404 from None


def asked_number(request: HttpRequest, name: str, *, default: int, most: int) -> int:
    """A whole number of the address, at most `most`; `default` when it is missing or no number."""
    text = request.GET.get(name, "")
    number = int(text[:9]) if text.isascii() and text.isdigit() else default  # int() refuses thousands of digits
    return min(number, most)


def chosen_project(request: HttpRequest, slug: str | None = None) -> tuple[Project | None, list[Project]]:
    """The project that a page is about, and all that there are.

    It is named by `slug` or `?project=` (404 when there is no such project); else it is the last chosen, or the first.
    """
    rows = projects()
    wanted = slug or request.GET.get("project", "")
    project = next((one for one in rows if one.slug == wanted), None)
    if wanted and project is None:
        raise Http404
    if project is None:
        project = next(
            (one for one in rows if one.slug == request.session.get(LAST_PROJECT)), rows[0] if rows else None
        )
    if project is not None:
        _keep(request, LAST_PROJECT, project.slug)
    return project, rows


def _keep(request: HttpRequest, name: str, value: str) -> None:
    if request.session.get(name) != value:  # an unchanged session is not written
        request.session[name] = value


def required_project(request: HttpRequest, slug: str) -> Project:
    """The project of this name, or 404."""
    project, _ = chosen_project(request, slug)
    if project is None:
        raise Http404
    return project


def address(name: str, member: MemberPrincipal, project: Project, thing_id: str) -> str:
    """The address of a session or capsule: their ids are the customers' free text and travel as `?id=`."""
    query = QueryDict(mutable=True)
    query["id"] = thing_id
    return f"{reverse(name, kwargs={'slug': member.slug, 'project': project.slug})}?{query.urlencode()}"
