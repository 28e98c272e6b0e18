"""Capsules chosen in the memory browser: compare two, or merge several."""

from itertools import islice

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from billing.metering.meters import Meter
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.selectors.capsules import diff
from capsule_cloud.memory.services import capsules, reads
from capsule_cloud.web import capsule_forms as forms
from capsule_cloud.web.capsules import find
from capsule_cloud.web.comparison import compared
from capsule_cloud.web.console import address, attempt, page, required_project, show
from capsule_cloud.web.usage import counted
from tenancy.access import MemberPrincipal
from tenancy.models import Project
from tenancy.roles import Right


@require_safe
@page(Right.MEMORY_READ)
def compare(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """What differs between two capsules, the older one first."""
    one = required_project(request, project)
    chosen = sorted(
        _chosen(one, request.GET.getlist("id")), key=lambda capsule: capsule.sealed_at or capsule.created_at
    )
    reads.note(reads.reader_of(one, member.actor), "diff", [capsule.capsule_id for capsule in chosen])
    if len(chosen) != 2:
        messages.error(request, "Choose exactly two capsules to compare.")
        return redirect("memory", slug=member.slug)
    older, newer = chosen
    found = diff(project_id=one.pk, capsule_id_a=older.capsule_id, capsule_id_b=newer.capsule_id)
    return show(
        request,
        member,
        "web/capsule_compare.html",
        "memory",
        project=one,
        older=older,
        newer=newer,
        comparison=compared(found, older.document, newer.document),
    )


@page(Right.MEMORY_WRITE)
def merge(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Make one new capsule of several of one end user's."""
    one = required_project(request, project)
    chosen = _chosen(one, request.POST.getlist("id") or request.GET.getlist("id"))
    if len(chosen) < 2:
        messages.error(request, f"Choose 2 to {capsules.MAX_MERGED} capsules to merge.")
        return redirect("memory", slug=member.slug)
    name = chosen[0].title[: forms.LONGEST_TITLE // 2] or chosen[0].capsule_id
    form = forms.MergeForm(request.POST or None, initial={"title": f"{name} and {len(chosen) - 1} more"})
    made = attempt(
        member,
        form,
        counted(
            member,
            one,
            Meter.WRITE,
            lambda: capsules.merge(
                project_id=one.pk,
                capsule_ids=[capsule.capsule_id for capsule in chosen],
                actor=member.actor,
                **form.cleaned_data,
            ),
            lambda merged: merged.user_id,
        ),
    )
    if made is None:
        people = {capsule.user_id for capsule in chosen}
        return show(
            request, member, "web/capsule_merge.html", "memory", project=one, chosen=chosen, people=people, form=form
        )
    messages.success(request, f"{len(chosen)} capsules are merged into this one. They stay as they are.")
    return redirect(address("capsule", member, one, made.capsule_id))


def _chosen(project: Project, ids: list[str]) -> list[Capsule]:
    """The capsules of these ids, each once, or 404; one more than can be merged is enough to be refused."""
    return [find(project, capsule_id) for capsule_id in islice(dict.fromkeys(ids), capsules.MAX_MERGED + 1)]
