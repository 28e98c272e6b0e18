"""One capsule: read it, pin, tag and date it, copy, export and delete it; and everything of one end user."""

import json
from collections.abc import Callable
from typing import Any

import orjson
from django import forms as django_forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from billing.metering.meters import Meter
from billing.quotas import parking
from capsule_cloud.memory import content
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.selectors import capsules as memory
from capsule_cloud.memory.services import capsules, reads, transfer
from capsule_cloud.web import capsule_forms as forms
from capsule_cloud.web.comparison import text_of
from capsule_cloud.web.console import address, attempt, page, perform, required_project, sensitive, show
from capsule_cloud.web.usage import counted
from tenancy.access import MemberPrincipal
from tenancy.models import Project
from tenancy.roles import Right

OTHERS_OFFERED = 20  # of the same end user, to compare with


@require_safe
@page(Right.MEMORY_READ)
def detail(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """A capsule with its facts and skills."""
    one = required_project(request, project)
    capsule = find(one, request.GET.get("id", ""))
    reads.note(reads.reader_of(one, member.actor), "get", [capsule.capsule_id], user_id=capsule.user_id)
    document: dict[str, Any] = orjson.loads(capsule.document)
    nearby = memory.list_capsules(project_id=one.pk, user_id=capsule.user_id, limit=OTHERS_OFFERED + 1)
    return show(
        request,
        member,
        "web/capsule.html",
        "memory",
        project=one,
        capsule=capsule,
        others=[other for other in nearby if other.pk != capsule.pk][:OTHERS_OFFERED],
        summary=content.summary_of(document),
        facts=[fact | {"text": text_of(fact.get("value"))} for fact in content.facts_of(document)],
        skills=content.skills_of(document),
        context=str(document["payload"].get("content", "")) if capsule.capsule_type == Capsule.Type.CONTEXT else "",
        document=json.dumps(document, indent=2, ensure_ascii=False),
        export_form=forms.ExportForm(),
        expiry_form=forms.ExpiryForm(initial={"expires_at": capsule.expires_at}),
        tags_form=forms.TagsForm(initial={"tags": ", ".join(capsule.tags)}),
    )


@require_POST
@page(Right.MEMORY_WRITE)
def pin(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Pin a capsule, or let it go."""
    form = forms.PinForm(request.POST)
    done = "Pinned: it never expires." if request.POST.get("is_pinned") == "1" else "No longer pinned."
    return _change(request, member, project, form, capsules.set_pinned, done)


@require_POST
@page(Right.MEMORY_WRITE)
def tags(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Replace a capsule's tags."""
    return _change(request, member, project, forms.TagsForm(request.POST), capsules.set_tags, "Tags saved.")


@require_POST
@page(Right.MEMORY_WRITE)
def expiry(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Date a capsule's end, or take the date away."""
    form = forms.ExpiryForm(request.POST)
    done = "From then on nobody sees it." if request.POST.get("expires_at") else "It no longer expires."
    return _change(request, member, project, form, capsules.set_expiry, done)


@page(Right.MEMORY_WRITE)
def fork(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Copy a capsule for another end user."""
    one = required_project(request, project)
    capsule = find(one, request.POST.get("id", "") or request.GET.get("id", ""))
    form = forms.ForkForm(request.POST or None)
    made = attempt(
        member,
        form,
        counted(
            member,
            one,
            Meter.WRITE,
            lambda: capsules.fork(
                project_id=one.pk, capsule_id=capsule.capsule_id, actor=member.actor, **form.cleaned_data
            ),
            lambda forked: forked.user_id,
        ),
    )
    if made is None:
        return show(request, member, "web/capsule_fork.html", "memory", project=one, capsule=capsule, form=form)
    messages.success(request, f"Copied for {made.user_id}.")
    return redirect(address("capsule", member, one, made.capsule_id))


@require_POST
@page(Right.MEMORY_READ)
def export(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Download a capsule as a signed file; a passphrase, which travels in the body alone, encrypts it."""
    one, capsule_id = required_project(request, project), request.POST.get("id", "")
    form = forms.ExportForm(request.POST)
    file = attempt(
        member,
        form,
        counted(
            member,
            one,
            Meter.EXPORT,
            lambda: transfer.export_capsule(
                project_id=one.pk,
                capsule_id=capsule_id,
                actor=member.actor,
                encrypt=bool(form.cleaned_data["passphrase"]),
                **form.cleaned_data,
            ),
        ),
    )
    if file is None:
        _say_why(request, form)
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
    capsule = find(one, request.POST.get("id", "") or request.GET.get("id", ""))
    if request.method != "POST":
        return show(request, member, "web/capsule_delete.html", "memory", project=one, capsule=capsule)

    def call() -> capsules.DeletedCapsule:
        return capsules.delete_capsule(project_id=one.pk, capsule_id=capsule.capsule_id, actor=member.actor)

    done = "The capsule and the turns it was made of are deleted."
    perform(request, member, counted(member, one, Meter.DELETE, call), done)
    return redirect("memory", slug=member.slug)


@page(Right.MEMORY_DELETE)
@sensitive
def forget(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Delete everything that a project remembers of one end user, and say how much it was."""
    one = required_project(request, project)
    user_id = request.POST.get("user", "") or request.GET.get("user", "")
    form = forms.ForgetForm(user_id, request.POST or None)

    def call() -> capsules.DeletedUser:
        return parking.delete_user(project_id=one.pk, user_id=user_id, actor=member.actor)

    gone = attempt(member, form, counted(member, one, Meter.DELETE, call))
    if gone is None:
        return show(request, member, "web/forget.html", "memory", project=one, form=form, user_id=user_id)
    messages.success(
        request,
        f"Deleted of {gone.user_id}: {gone.capsules} capsules, {gone.sessions} sessions, {gone.turns} turns.",
    )
    return redirect("memory", slug=member.slug)


@page(Right.MEMORY_WRITE)
def upload(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Import a capsule file for an end user."""
    one = required_project(request, project)
    form = forms.ImportForm(request.POST or None, request.FILES or None)
    made = attempt(
        member,
        form,
        counted(
            member,
            one,
            Meter.IMPORT,
            lambda: transfer.import_capsule(
                project_id=one.pk,
                filename=form.cleaned_data["file"].name,
                content=form.cleaned_data["file"].read(),
                user_id=form.cleaned_data["user_id"],
                passphrase=form.cleaned_data["passphrase"],
                actor=member.actor,
            ),
            lambda _: str(form.cleaned_data["user_id"]),
        ),
    )
    if made is None:
        return show(request, member, "web/import.html", "memory", project=one, form=form)
    messages.success(request, f"Imported {made.title or made.capsule_id}.")
    return redirect(address("capsule", member, one, made.capsule_id))


def find(project: Project, capsule_id: str) -> Capsule:
    """The capsule of this id in the project, or 404."""
    try:
        return memory.get_capsule(project_id=project.pk, capsule_id=capsule_id)
    except memory.CapsuleNotFound as failure:
        raise Http404 from failure


def _change(
    request: HttpRequest,
    member: MemberPrincipal,
    project: str,
    form: django_forms.Form,
    change: Callable[..., Capsule],
    done: str,
) -> HttpResponse:
    """Run a service on the posted capsule with what was typed, say how it went, and show the capsule."""
    one, capsule_id = required_project(request, project), request.POST.get("id", "")

    def call() -> Capsule:
        return change(project_id=one.pk, capsule_id=capsule_id, actor=member.actor, **form.cleaned_data)

    if attempt(member, form, counted(member, one, Meter.WRITE, call, lambda capsule: capsule.user_id)) is None:
        _say_why(request, form)
    else:
        messages.success(request, done)
    return redirect(address("capsule", member, one, capsule_id))


def _say_why(request: HttpRequest, form: django_forms.Form) -> None:
    for reasons in form.errors.values():
        messages.error(request, "; ".join(str(reason) for reason in reasons))
