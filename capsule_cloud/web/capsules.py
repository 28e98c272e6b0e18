"""One capsule: read it, pin it, tag it, export it, delete it; and everything of one end user."""

import json
from typing import Any

import orjson
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.memory import content
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.selectors import capsules as memory
from capsule_cloud.memory.services import capsules, transfer
from capsule_cloud.web import forms
from capsule_cloud.web.console import address, attempt, page, perform, required_project, sensitive, show
from tenancy.access import MemberPrincipal
from tenancy.models import Project
from tenancy.roles import Right


@require_safe
@page(Right.MEMORY_READ)
def detail(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """A capsule with its facts and skills."""
    one = required_project(request, project)
    capsule = _find(one, request.GET.get("id", ""))
    document: dict[str, Any] = orjson.loads(capsule.document)
    return show(
        request,
        member,
        "web/capsule.html",
        "memory",
        project=one,
        capsule=capsule,
        summary=content.summary_of(document),
        facts=[fact | {"text": _text(fact.get("value"))} for fact in content.facts_of(document)],
        skills=content.skills_of(document),
        context=str(document["payload"].get("content", "")) if capsule.capsule_type == Capsule.Type.CONTEXT else "",
        document=json.dumps(document, indent=2, ensure_ascii=False),
        export_form=forms.ExportForm(),
        tags_form=forms.TagsForm(initial={"tags": ", ".join(capsule.tags)}),
    )


@require_POST
@page(Right.MEMORY_WRITE)
def pin(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Pin a capsule, or let it go."""
    one, capsule_id = required_project(request, project), request.POST.get("id", "")
    wanted = request.POST.get("pinned") == "1"
    perform(
        request,
        member,
        lambda: capsules.set_pinned(project_id=one.pk, capsule_id=capsule_id, is_pinned=wanted, actor=member.actor),
        "Pinned: it never expires." if wanted else "No longer pinned.",
    )
    return redirect(address("capsule", member, one, capsule_id))


@require_POST
@page(Right.MEMORY_WRITE)
def tags(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Replace a capsule's tags."""
    one, capsule_id = required_project(request, project), request.POST.get("id", "")
    form = forms.TagsForm(request.POST)
    if form.is_valid():
        perform(
            request,
            member,
            lambda: capsules.set_tags(
                project_id=one.pk, capsule_id=capsule_id, tags=form.cleaned_data["tags"], actor=member.actor
            ),
            "Tags saved.",
        )
    return redirect(address("capsule", member, one, capsule_id))


@require_POST
@page(Right.MEMORY_READ)
def export(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Download a capsule as a signed file; a passphrase, which travels in the body alone, encrypts it."""
    one, capsule_id = required_project(request, project), request.POST.get("id", "")
    form = forms.ExportForm(request.POST)
    file = None
    if form.is_valid():
        passphrase = form.cleaned_data["passphrase"]
        file = attempt(
            member,
            form,
            lambda: transfer.export_capsule(
                project_id=one.pk,
                capsule_id=capsule_id,
                actor=member.actor,
                file_format=form.cleaned_data["file_format"],
                encrypt=bool(passphrase),
                passphrase=passphrase,
            ),
        )
    if file is None:
        for reasons in form.errors.values():
            messages.error(request, "; ".join(str(reason) for reason in reasons))
        return redirect(address("capsule", member, one, capsule_id))
    return HttpResponse(
        file.content,
        content_type=file.content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{file.filename}"',
            "X-Capsule-Signature": file.signature.value,
            "X-Capsule-Signature-Key": file.signature.public_key,
        },
    )


@page(Right.MEMORY_DELETE)
def delete(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Delete a capsule and the raw turns it was made of."""
    one = required_project(request, project)
    capsule = _find(one, request.POST.get("id", "") or request.GET.get("id", ""))
    if request.method == "POST":
        perform(
            request,
            member,
            lambda: capsules.delete_capsule(project_id=one.pk, capsule_id=capsule.capsule_id, actor=member.actor),
            "The capsule and the turns it was made of are deleted.",
        )
        return redirect("memory", slug=member.slug)
    return show(request, member, "web/capsule_delete.html", "memory", project=one, capsule=capsule)


@page(Right.MEMORY_DELETE)
@sensitive
def forget(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Delete everything that a project remembers of one end user, and say how much it was."""
    one = required_project(request, project)
    user_id = request.POST.get("user", "") or request.GET.get("user", "")
    form = forms.ForgetForm(user_id, request.POST or None)
    if request.method == "POST" and form.is_valid():
        gone = attempt(
            member, form, lambda: capsules.delete_user(project_id=one.pk, user_id=user_id, actor=member.actor)
        )
        if gone is not None:
            messages.success(
                request,
                f"Deleted of {gone.user_id}: {gone.capsules} capsules, {gone.sessions} sessions, {gone.turns} turns.",
            )
            return redirect("memory", slug=member.slug)
    status = 422 if form.errors else 200
    return show(request, member, "web/forget.html", "memory", status, project=one, form=form, user_id=user_id)


@page(Right.MEMORY_WRITE)
def upload(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Import a capsule file for an end user."""
    one = required_project(request, project)
    form = forms.ImportForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        made = attempt(
            member,
            form,
            lambda: transfer.import_capsule(
                project_id=one.pk,
                filename=file.name,
                content=file.read(),
                user_id=form.cleaned_data["user_id"],
                passphrase=form.cleaned_data["passphrase"],
                actor=member.actor,
            ),
        )
        if made is not None:
            messages.success(request, f"Imported {made.title or made.capsule_id}.")
            return redirect(address("capsule", member, one, made.capsule_id))
    return show(request, member, "web/import.html", "memory", 422 if form.errors else 200, project=one, form=form)


def _find(project: Project, capsule_id: str) -> Capsule:
    try:
        return memory.get_capsule(project_id=project.pk, capsule_id=capsule_id)
    except memory.CapsuleNotFound as failure:
        raise Http404 from failure


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
