"""The memory browser: search as you type, read, pin, tag, export and delete capsules."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from capsule_cloud.web.console import chosen_project, page, show
from tenancy.access import MemberPrincipal
from tenancy.roles import Right


@require_safe
@page(Right.MEMORY_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The capsules of a project."""
    project, rows = chosen_project(request)
    return show(request, member, "web/memory.html", "memory", project=project, projects=rows)
