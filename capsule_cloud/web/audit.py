"""The audit log: list, filter, read one event."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from capsule_cloud.web.console import asked, page, show
from tenancy.access import MemberPrincipal
from tenancy.audit.actions import CATALOGUE
from tenancy.audit.selectors import events
from tenancy.roles import Right

PAGE_SIZE = 50
LAST_ID = 2**128 - 1
FILTERS = ("action", "actor", "target", "since", "until")


@require_safe
@page(Right.AUDIT_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The trail, newest first; `before` is the last id of the page before."""
    wanted = asked(request, *FILTERS)
    since, until = _day(wanted["since"]), _day(wanted["until"], later=timedelta(days=1))
    rows = events(
        before=_uuid(request.GET.get("before", "")),
        limit=PAGE_SIZE + 1,
        action=wanted["action"],
        actor=wanted["actor"],
        target=wanted["target"],
        since=since,
        until=until,
    )
    more = request.GET.copy()
    if len(rows) > PAGE_SIZE:
        more["before"] = str(rows[PAGE_SIZE - 1].pk)
    return show(
        request,
        member,
        "web/audit_rows.html" if request.headers.get("HX-Request") else "web/audit.html",
        "audit",
        events=rows[:PAGE_SIZE],
        more=more.urlencode() if len(rows) > PAGE_SIZE else "",
        is_first="before" not in request.GET,
        wanted=wanted,
        is_filtered=any(wanted.values()),
        actions=sorted(CATALOGUE.values(), key=lambda action: action.name),
    )


@require_safe
@page(Right.AUDIT_READ)
def detail(request: HttpRequest, member: MemberPrincipal, event_id: UUID) -> HttpResponse:
    """One event with everything that is known about it."""
    after = UUID(int=min(event_id.int + 1, LAST_ID))
    event = next((one for one in events(before=after, limit=1) if one.pk == event_id), None)
    if event is None:
        raise Http404
    everything = {
        "id": str(event.pk),
        "action": event.action,
        "occurred_at": event.occurred_at.isoformat(),
        "actor": event.actor,
        "target": event.target,
        "context": event.context,
        "metadata": event.metadata,
    }
    as_json = json.dumps(everything, indent=2, ensure_ascii=False)
    return show(request, member, "web/audit_event.html", "audit", event=event, as_json=as_json)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise Http404 from None


def _day(text: str, later: timedelta = timedelta()) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + later if text else None
    except (ValueError, OverflowError):  # no day, or the last one that there is
        return None
