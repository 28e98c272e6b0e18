"""API keys: list, create, show once, rotate, revoke."""

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from capsule_cloud.web import forms, once
from capsule_cloud.web.console import LAST_PROJECT, attempt, chosen_project, page, perform, show, signed_in
from capsule_cloud.web.snippets import first_steps
from tenancy import selectors
from tenancy.access import MemberPrincipal
from tenancy.models import ApiKey
from tenancy.roles import Right
from tenancy.services import keys

ONCE = "new_key_secret"


@page(Right.KEYS_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The keys of every project, or of one; ended ones on demand."""
    rows = selectors.projects()
    project = chosen_project(request)[0] if request.GET.get("project") else None
    with_ended = request.GET.get("ended") == "1"
    listed = selectors.keys(project_id=project.pk if project else None, with_ended=with_ended)
    return show(
        request,
        member,
        "web/keys.html",
        "keys",
        keys=[(key, member.in_project(key.project.slug).has(Right.KEYS_WRITE)) for key in listed],
        may_create=member.has_somewhere(Right.KEYS_WRITE),
        projects=rows,
        project=project,
        with_ended=with_ended,
    )


@page(Right.KEYS_WRITE, somewhere=True)
def new(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Create a key, in a project in which the member may."""
    rows = [one for one in selectors.projects() if member.in_project(one.slug).has(Right.KEYS_WRITE)]
    rights = member.rights.union(*(member.in_project(one.slug).rights for one in rows))
    last = next((str(one.pk) for one in rows if one.slug == request.session.get(LAST_PROJECT)), None)
    form = forms.KeyForm(rows, rights, request.POST or None, initial={"project": last})
    made = attempt(
        member,
        form,
        lambda: keys.create(
            maker=keys.Maker(actor=member.actor, user=signed_in(request)),
            project_id=UUID(form.cleaned_data["project"]),
            name=form.cleaned_data["name"],
            scopes=form.cleaned_data["scopes"],
            expires_at=form.expires_at(),
            requests_per_minute=form.cleaned_data["requests_per_minute"],
            allowed_cidrs=form.cleaned_data["allowed_cidrs"],
        ),
    )
    if made is None:
        return show(request, member, "web/key_new.html", "keys", form=form, projects=rows)
    return _show_once(request, member, made)


@page(Right.KEYS_WRITE, somewhere=True)
def secret(request: HttpRequest, member: MemberPrincipal, key_id: UUID) -> HttpResponse:
    """A new key's secret, once: asked again, the page only says so."""
    key = _find(member, key_id)
    plain = once.take(request, ONCE, key.pk)
    return show(
        request,
        member,
        "web/key_secret.html",
        "keys",
        key=key,
        secret=plain,
        snippets=first_steps(settings.PUBLIC_URL, key=plain),
    )


@page(Right.KEYS_WRITE, somewhere=True)
def rotate(request: HttpRequest, member: MemberPrincipal, key_id: UUID) -> HttpResponse:
    """Replace a key; both work for the chosen overlap."""
    key = _find(member, key_id)
    form = forms.RotateForm(request.POST or None)
    made = attempt(
        member, form, lambda: keys.rotate(actor=member.actor, key_id=key.pk, overlap=form.cleaned_data["overlap"])
    )
    if made is None:
        return show(request, member, "web/key_rotate.html", "keys", form=form, key=key)
    return _show_once(request, member, made)


@page(Right.KEYS_WRITE, somewhere=True)
def revoke(request: HttpRequest, member: MemberPrincipal, key_id: UUID) -> HttpResponse:
    """End a key and its children at once."""
    key = _find(member, key_id)
    if request.method == "POST":
        done = f"{key.name} is revoked. It stops working everywhere within a second."
        perform(request, member, lambda: keys.revoke(actor=member.actor, key_id=key.pk), done)
        return redirect("keys", slug=member.slug)
    return show(request, member, "web/key_revoke.html", "keys", key=key)


def _show_once(request: HttpRequest, member: MemberPrincipal, made: keys.NewKey) -> HttpResponse:
    once.keep(request, ONCE, made.key.pk, made.secret)
    messages.success(request, f"{made.key.name} is ready to use.")
    return redirect("key_secret", slug=member.slug, key_id=made.key.pk)


def _find(member: MemberPrincipal, key_id: UUID) -> ApiKey:
    key = next((one for one in selectors.keys(with_ended=True) if one.pk == key_id), None)
    if key is None:
        raise Http404
    if not member.in_project(key.project.slug).has(Right.KEYS_WRITE):
        raise PermissionDenied
    return key
