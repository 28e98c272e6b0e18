"""Projects: list, create, settings, the people with a role in them, archive."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from capsule_cloud.web import forms
from capsule_cloud.web.console import attempt, page, perform, required_project, show
from tenancy import selectors
from tenancy.access import MemberPrincipal
from tenancy.models import Project
from tenancy.roles import Right
from tenancy.services import project_roles, projects


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
    return _settings(request, member, one, form)


@page(Right.PROJECTS_WRITE)
def update(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Change a project's settings."""
    one = required_project(request, project)
    form = forms.ProjectSettingsForm(request.POST)
    changed = attempt(member, form, lambda: projects.update(actor=member.actor, project_id=one.pk, **form.cleaned_data))
    if changed is None:
        return _settings(request, member, one, form)
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


@page(Right.MEMBERS_WRITE)
def role_new(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Give a member a role in a project."""
    one = required_project(request, project)
    form = forms.ProjectRoleForm(selectors.members(), request.POST or None)
    given = attempt(
        member,
        form,
        lambda: project_roles.give(
            actor=member.actor,
            actor_role=member.role,
            user_id=UUID(form.cleaned_data["user"]),
            project_id=one.pk,
            role=form.cleaned_data["role"],
        ),
    )
    if given is None:
        return show(request, member, "web/project_role.html", "projects", project=one, form=form)
    messages.success(request, f"Their role in {one.name} is {given.get_role_display().lower()}.")
    return redirect("project", slug=member.slug, project=one.slug)


@page(Right.MEMBERS_WRITE)
def role_remove(request: HttpRequest, member: MemberPrincipal, project: str, user_id: UUID) -> HttpResponse:
    """Take a member's role in a project, once it was asked for."""
    one = required_project(request, project)
    held = next((row for row in selectors.project_roles(one.pk) if row.membership.user_id == user_id), None)
    if held is None:
        raise Http404
    person = held.membership.user.get_full_name()
    if request.method == "POST":
        perform(
            request,
            member,
            lambda: project_roles.take(actor=member.actor, actor_role=member.role, user_id=user_id, project_id=one.pk),
            f"{person} has no role of their own in {one.name} any more.",
        )
        return redirect("project", slug=member.slug, project=one.slug)
    return show(request, member, "web/project_role_remove.html", "projects", project=one, held=held)


def _settings(
    request: HttpRequest, member: MemberPrincipal, one: Project, form: forms.ProjectSettingsForm
) -> HttpResponse:
    people = selectors.project_roles(one.pk) if member.has(Right.MEMBERS_READ) else []
    return show(request, member, "web/project.html", "projects", project=one, form=form, people=people)
