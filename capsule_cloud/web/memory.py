"""The memory browser: search as you type, with why it matched, by end user, type and tag."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from capsule_cloud.memory.limits import InvalidInput
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.selectors.browse import SearchPage, search_page
from capsule_cloud.memory.selectors.capsules import count_capsules, end_users
from capsule_cloud.memory.services import reads
from capsule_cloud.web.console import asked, asked_number, chosen_project, page, show
from tenancy.access import MemberPrincipal
from tenancy.models import Project
from tenancy.roles import Right

PAGE_SIZE = 20
FILTERS = ("q", "user", "type", "tag")
PEOPLE_SUGGESTED = 100
LAST_PAGE = 10_000


@require_safe
@page(Right.MEMORY_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The capsules of a project, the best matches first, or the newest; htmx gets the rows alone."""
    project, rows = chosen_project(request)
    wanted = asked(request, *FILTERS)
    number = asked_number(request, "page", default=1, most=LAST_PAGE) or 1
    found = _search(project, wanted, number) if project else SearchPage([], has_more=False)
    if project:
        member = member.in_project(project.slug)
        ids = [one.capsule.capsule_id for one in found.results]
        operation = "search" if wanted["q"] else "list"
        reader = reads.reader_of(project, member.actor)
        reads.note(reader, operation, ids, query=wanted["q"], user_id=wanted["user"] or None)
    first, more = request.GET.copy(), request.GET.copy()
    first.pop("page", None)
    more["page"] = str(number + 1)
    is_rows_only = bool(request.headers.get("HX-Request"))
    return show(
        request,
        member,
        "web/memory_rows.html" if is_rows_only else "web/memory.html",
        "memory",
        project=project,
        projects=rows,
        found=found,
        wanted=wanted,
        is_filtered=any(wanted.values()),
        more=more.urlencode() if found.has_more else "",
        first=first.urlencode(),
        is_first=number == 1,
        types=Capsule.Type.choices,
        total=count_capsules(project_id=project.pk) if project and not is_rows_only else 0,
        people=end_users(project_id=project.pk, limit=PEOPLE_SUGGESTED) if project and not is_rows_only else [],
    )


def _search(project: Project, wanted: dict[str, str], number: int) -> SearchPage:
    try:
        return search_page(
            project_id=project.pk,
            query=wanted["q"],
            user_id=wanted["user"] or None,
            capsule_type=wanted["type"] or None,
            tags=[wanted["tag"]] if wanted["tag"] else [],
            limit=PAGE_SIZE,
            offset=(number - 1) * PAGE_SIZE,
        )
    except InvalidInput:
        return SearchPage([], has_more=False)  # a filter that nothing can match
