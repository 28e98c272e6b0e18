"""Sessions: list, turns, the skills noticed in them, seal."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from billing.metering.meters import Meter
from capsule_cloud.memory.limits import MAX_TURNS
from capsule_cloud.memory.selectors import sessions as memory
from capsule_cloud.memory.services import reads, sessions, triggers
from capsule_cloud.web.console import (
    address,
    asked,
    asked_id,
    asked_number,
    chosen_project,
    page,
    perform,
    required_project,
    show,
)
from capsule_cloud.web.usage import counted
from tenancy.access import MemberPrincipal
from tenancy.roles import Right

PAGE_SIZE = 30
TURNS_AT_ONCE = 50


@require_safe
@page(Right.MEMORY_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The project's sessions, newest first, by end user, state and beginning of the id."""
    project, rows = chosen_project(request)
    wanted = asked(request, "user", "state", "q")
    state = next((one for one in memory.SessionState if one == wanted["state"]), None)
    found = None
    if project is not None:
        member = member.in_project(project.slug)
        found = memory.list_sessions(
            project_id=project.pk,
            user_id=wanted["user"],
            state=state,
            starts_with=wanted["q"],
            after=asked_id(request, "after"),
            limit=PAGE_SIZE,
        )
    more = request.GET.copy()
    if found and found.after:
        more["after"] = str(found.after)
    return show(
        request,
        member,
        "web/sessions_rows.html" if request.headers.get("HX-Request") else "web/sessions.html",
        "sessions",
        project=project,
        projects=rows,
        sessions=found.sessions if found else [],
        more=more.urlencode() if found and found.after else "",
        wanted=wanted,
        is_filtered=any(wanted.values()),
    )


@require_safe
@page(Right.MEMORY_READ)
def detail(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """One session: its turns as long as they are kept, what was noticed, and the capsule it became.

    Turns come a few at a time, above the number `after`; htmx gets them alone.
    """
    one = required_project(request, project)
    session_id = request.GET.get("id", "")
    try:
        session = memory.get_session(project_id=one.pk, session_id=session_id)
    except memory.SessionNotFound as failure:
        raise Http404 from failure
    reader = reads.reader_of(one, member.actor)
    reads.note(reader, "session", session_id=session_id, user_id=session.user_id)
    after = asked_number(request, "after", default=0, most=MAX_TURNS)
    turns = memory.session_turns(project_id=one.pk, session_id=session_id, after=after, limit=TURNS_AT_ONCE + 1)
    is_rows_only = bool(request.headers.get("HX-Request"))
    return show(
        request,
        member,
        "web/session_turns.html" if is_rows_only else "web/session.html",
        "sessions",
        project=one,
        session=session,
        after=after,
        turns=turns[:TURNS_AT_ONCE],
        has_more=len(turns) > TURNS_AT_ONCE,
        triggers=[] if is_rows_only else memory.triggers(project_id=one.pk, session_id=session_id),
    )


@require_POST
@page(Right.MEMORY_WRITE)
def seal(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Make the session's capsule now."""
    one, session_id = required_project(request, project), request.POST.get("id", "")
    perform(
        request,
        member,
        counted(
            member,
            one,
            Meter.SEAL,
            lambda: sessions.seal(project_id=one.pk, session_id=session_id, actor=member.actor),
            lambda sealed: sealed.user_id,
        ),
        "The session is sealed into a capsule.",
    )
    return redirect(address("session", member, one, session_id))


@require_POST
@page(Right.MEMORY_WRITE)
def resolve(request: HttpRequest, member: MemberPrincipal, project: str) -> HttpResponse:
    """Decide what becomes of a skill that was noticed."""
    one, session_id = required_project(request, project), request.POST.get("id", "")
    perform(
        request,
        member,
        counted(
            member,
            one,
            Meter.WRITE,
            lambda: triggers.resolve(
                project_id=one.pk,
                session_id=session_id,
                event_id=request.POST.get("event", ""),
                resolution=request.POST.get("resolution", ""),
                actor=member.actor,
            ),
        ),
        "Decided.",
    )
    return redirect(address("session", member, one, session_id))
