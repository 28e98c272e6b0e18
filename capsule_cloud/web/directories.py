"""Directories: what to copy where, their tokens, whom they brought, and whether they work."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.web import once
from capsule_cloud.web.console import asked, asked_id, attempt, page, perform, show
from capsule_cloud.web.directory_forms import DirectoryForm, DirectorySettingsForm, TokenForm, TokenRotateForm
from capsule_cloud.web.directory_guides import GUIDES
from tenancy.access import MemberPrincipal
from tenancy.errors import NotFound
from tenancy.roles import Right
from tenancy.scim.directories import selectors, services
from tenancy.scim.directories.services import NewToken
from tenancy.scim.models import Directory, DirectoryToken
from tenancy.sso.domains.selectors import held

ONCE = "new_directory_token"
PAGE_SIZE = 50
SHOWN_FAILURES = 3


@require_safe
@page(Right.SSO_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Every directory with its state; the empty page says what they are for."""
    rows = [(one, selectors.counted(one.pk)) for one in selectors.directories()]
    context: dict[str, Any] = {"rows": rows, "has_domain": held().exists()}
    return show(request, member, "web/directories.html", "sso", **context)


@page(Right.SSO_MANAGE)
def new(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Add a directory, then show its token."""
    form = DirectoryForm(member.role, request.POST or None)
    added = attempt(
        member,
        form,
        lambda: services.add(actor=member.actor, actor_role=member.role, **form.cleaned_data),
    )
    if added is None:
        return show(request, member, "web/directory_new.html", "sso", form=form)
    return _show_once(request, member, *added)


@require_safe
@page(Right.SSO_READ)
def detail(request: HttpRequest, member: MemberPrincipal, directory_id: UUID) -> HttpResponse:
    """One directory: what to copy there, its tokens, its state, what failed lately. Its state asks again."""
    directory = _find(directory_id)
    if request.headers.get("HX-Request"):
        return show(request, member, "web/parts/directory_state.html", "sso", directory=directory)
    tokens = selectors.tokens(directory_id)
    live = set(DirectoryToken.objects.filter(services.is_live(), directory=directory).values_list("pk", flat=True))
    return show(
        request,
        member,
        "web/directory.html",
        "sso",
        directory=directory,
        base_url=base_url(),
        steps=GUIDES[directory.kind],
        tokens=[(one, one.pk in live) for one in tokens],
        counted=selectors.counted(directory_id),
        failures=selectors.failures(directory_id)[:SHOWN_FAILURES],
        has_domain=held().exists(),
    )


@page(Right.SSO_MANAGE)
def edit(request: HttpRequest, member: MemberPrincipal, directory_id: UUID) -> HttpResponse:
    """Change what a directory is called, and what becomes of whom it brings and takes."""
    directory = _find(directory_id)
    initial = {name: getattr(directory, name) for name in ("name", "kind", "default_role")}
    form = DirectorySettingsForm(
        member.role, request.POST or None, {**initial, "keys_go_to": directory.keys_go_to_id or ""}
    )
    changed = attempt(
        member,
        form,
        lambda: services.change(
            actor=member.actor,
            actor_role=member.role,
            directory_id=directory_id,
            is_on=directory.is_on,
            **form.cleaned_data,
        ),
    )
    if changed is None:
        return show(request, member, "web/directory_edit.html", "sso", form=form, directory=directory)
    messages.success(request, "Saved.")
    return redirect("directory", slug=member.slug, directory_id=directory_id)


@require_POST
@page(Right.SSO_MANAGE)
def switch(request: HttpRequest, member: MemberPrincipal, directory_id: UUID) -> HttpResponse:
    """Let a directory write, or no longer."""
    directory, is_on = _find(directory_id), request.POST.get("is_on") == "1"
    done = f"{directory.name} provisions again." if is_on else f"{directory.name} is refused from now on."
    perform(
        request,
        member,
        lambda: services.change(
            actor=member.actor,
            actor_role=member.role,
            directory_id=directory_id,
            name=directory.name,
            kind=directory.kind,
            default_role=directory.default_role,
            keys_go_to=directory.keys_go_to_id,
            is_on=is_on,
        ),
        done,
    )
    return redirect("directory", slug=member.slug, directory_id=directory_id)


@page(Right.SSO_MANAGE)
def remove(request: HttpRequest, member: MemberPrincipal, directory_id: UUID) -> HttpResponse:
    """Forget a directory, once it was asked for."""
    directory = _find(directory_id)
    if request.method == "POST":
        gone = f"{directory.name} is removed."
        perform(request, member, lambda: services.remove(actor=member.actor, directory_id=directory_id), gone)
        return redirect("directories", slug=member.slug)
    counted = selectors.counted(directory_id)
    return show(request, member, "web/directory_remove.html", "sso", directory=directory, counted=counted)


@require_safe
@page(Right.SSO_MANAGE)
def secret(request: HttpRequest, member: MemberPrincipal, directory_id: UUID) -> HttpResponse:
    """A new token, once: asked again, the page only says so."""
    directory = _find(directory_id)
    plain = once.take(request, ONCE, directory_id)
    return show(
        request,
        member,
        "web/directory_secret.html",
        "sso",
        directory=directory,
        secret=plain,
        base_url=base_url(),
    )


@page(Right.SSO_MANAGE)
def add_token(request: HttpRequest, member: MemberPrincipal, directory_id: UUID) -> HttpResponse:
    """One more token, beside those that there are."""
    directory = _find(directory_id)
    form = TokenForm(request.POST or None)
    made = attempt(
        member,
        form,
        lambda: services.add_token(actor=member.actor, directory_id=directory_id, expires_at=form.expires_at()),
    )
    if made is None:
        return show(request, member, "web/directory_token_new.html", "sso", form=form, directory=directory)
    return _show_once(request, member, directory, made)


@page(Right.SSO_MANAGE)
def rotate_token(request: HttpRequest, member: MemberPrincipal, directory_id: UUID, token_id: UUID) -> HttpResponse:
    """Replace a token; both work for the chosen overlap."""
    directory, token = _find_token(directory_id, token_id)
    form = TokenRotateForm(request.POST or None)
    made = attempt(
        member,
        form,
        lambda: services.rotate_token(
            actor=member.actor, directory_id=directory_id, token_id=token_id, overlap=form.cleaned_data["overlap"]
        ),
    )
    if made is None:
        context: dict[str, Any] = {"form": form, "directory": directory, "token": token}
        return show(request, member, "web/directory_token_rotate.html", "sso", **context)
    return _show_once(request, member, directory, made)


@page(Right.SSO_MANAGE)
def revoke_token(request: HttpRequest, member: MemberPrincipal, directory_id: UUID, token_id: UUID) -> HttpResponse:
    """End a token at once, once it was asked for."""
    directory, token = _find_token(directory_id, token_id)
    if request.method == "POST":
        perform(
            request,
            member,
            lambda: services.revoke_token(actor=member.actor, directory_id=directory_id, token_id=token_id),
            "The token is revoked: it opens nothing from now on.",
        )
        return redirect("directory", slug=member.slug, directory_id=directory_id)
    context: dict[str, Any] = {"directory": directory, "token": token}
    return show(request, member, "web/directory_token_revoke.html", "sso", **context)


@require_safe
@page(Right.SSO_READ)
def users(request: HttpRequest, member: MemberPrincipal, directory_id: UUID) -> HttpResponse:
    """Whom a directory brought, and who they are here."""
    directory, text = _find(directory_id), asked(request, "q")["q"]
    after = asked_id(request, "after")
    rows = selectors.users(directory_id, text=text, after=after, limit=PAGE_SIZE + 1)
    context: dict[str, Any] = {
        "directory": directory,
        "users": rows[:PAGE_SIZE],
        "more": rows[PAGE_SIZE - 1].pk if len(rows) > PAGE_SIZE else None,
        "is_first": after is None,
        "q": text,
        "counted": selectors.counted(directory_id),
    }
    return show(request, member, "web/directory_users.html", "sso", **context)


def _show_once(request: HttpRequest, member: MemberPrincipal, directory: Directory, made: NewToken) -> HttpResponse:
    once.keep(request, ONCE, directory.pk, made.secret)
    return redirect("directory_secret", slug=member.slug, directory_id=directory.pk)


def base_url() -> str:
    """Where every directory finds us."""
    return f"{settings.PUBLIC_URL}/scim/v2"


def _find(directory_id: UUID) -> Directory:
    try:
        return selectors.directory(directory_id)
    except NotFound:
        raise Http404 from None


def _find_token(directory_id: UUID, token_id: UUID) -> tuple[Directory, DirectoryToken]:
    directory = _find(directory_id)
    token = next((one for one in selectors.tokens(directory_id) if one.pk == token_id), None)
    if token is None:
        raise Http404
    return directory, token
