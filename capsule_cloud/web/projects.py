"""Projects: list, create, settings, archive."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from capsule_cloud.web import forms
from capsule_cloud.web.console import attempt, page, perform, required_project, show
from tenancy import selectors
from tenancy.access import MemberPrincipal
from tenancy.roles import Right
from tenancy.services import projects


@page(Right.PROJECTS_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Every project, with how many keys it has."""
    rows = selectors.projects()
    live_keys = selectors.keys()
    listed = [(one, sum(key.project_id == one.pk for key in live_keys)) for one in rows]
    limit = selectors.organization().project_limit
    return show(request, member, "web/projects.html", "projects", projects=listed, limit=limit, used=len(rows))


@page(Right.PROJECTS_WRITE)
def new(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Create a project."""
    form = forms.ProjectForm(request.POST or None)
    project = attempt(member, form, lambda: projects.create(actor=member.actor, name=form.cleaned_data["name"]))
    if project is None:
        return show(request, member, "web/project_new.html", "projects", form=form)
    messages.success(request, f"Project {project.name} is ready.")
    return redirect("project", slug=member.slug, project=project.slug)


@page(Right.PROJECTS_READ)
def detail(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """A project's settings; members who may not change them see them."""
    one = required_project(request, project)
    fields = ("name", "cors_origins", "turn_retention_days", "idle_seal_minutes", "audit_reads")
    form = forms.ProjectSettingsForm(initial={field: getattr(one, field) for field in fields})
    return show(request, member, "web/project.html", "projects", project=one, form=form)


@page(Right.PROJECTS_WRITE)
def update(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Change a project's settings."""
    one = required_project(request, project)
    form = forms.ProjectSettingsForm(request.POST)
    changed = attempt(member, form, lambda: projects.update(actor=member.actor, project_id=one.pk, **form.cleaned_data))
    if changed is None:
        return show(request, member, "web/project.html", "projects", project=one, form=form)
    messages.success(request, "Saved.")
    return redirect("project", slug=member.slug, project=one.slug)


@page(Right.PROJECTS_WRITE)
def archive(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Archive a project: its keys end at once."""
    one = required_project(request, project)
    if request.method == "POST":
        perform(
            request,
            member,
            lambda: projects.archive(actor=member.actor, project_id=one.pk),
            f"{one.name} is archived and its keys have ended.",
        )
        return redirect("projects", slug=member.slug)
    keys = len(selectors.keys(project_id=one.pk))
    return show(request, member, "web/project_archive.html", "projects", project=one, keys=keys)
