"""The audit log: search it, see it over time, keep searches, read and prove one event."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from capsule_cloud.web.audit_timeline import timeline
from capsule_cloud.web.console import asked, asked_id, attempt, page, perform, show
from tenancy.access import MemberPrincipal
from tenancy.audit import ocsf, people, selectors
from tenancy.audit.actions import CATALOGUE
from tenancy.audit.filters import Wanted
from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing import notes
from tenancy.audit.sealing import selectors as sealing
from tenancy.audit.sealing.models import Leaf
from tenancy.audit.search import services as views
from tenancy.errors import NotFound
from tenancy.roles import Right

PAGE_SIZE = 50
CHOICES = (("is_failure", "Only refused"), ("is_staff", "Only Capsule staff"))
WORDS = {"text": "Any word", "actor": "Who", "target": "Target", "ip": "IP", "action": "Action"}
WORDS |= {"since": "From", "until": "To", **dict(CHOICES)}
EXPORTABLE = {"actor", "target", "action", "since", "until"}  # what exports choose by, too


class ViewForm(forms.Form):
    """A name for the search that the page shows."""

    name = forms.CharField(label="Name", max_length=64)
    is_shared = forms.BooleanField(
        label="Shared with everybody who may read the log", required=False, help_text="Otherwise it is yours alone."
    )


@require_safe
@page(Right.AUDIT_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The trail, newest first; `before` is where the page before ended."""
    typed = asked(request, *views.FILTERS)
    since, until = _moment(typed["since"]), _moment(typed["until"], later=timedelta(days=1))
    before = asked_id(request, "before")
    found = selectors.search(before=before, limit=PAGE_SIZE, since=since, until=until, **_wanted(typed))
    more = request.GET.copy()
    if found.before:
        more["before"] = str(found.before)
    kept = _kept(typed)
    return show(
        request,
        member,
        "web/audit_rows.html" if request.headers.get("HX-Request") else "web/audit.html",
        "audit",
        events=found.events,
        more=more.urlencode() if found.before else "",
        looked_back_to=found.looked_back_to,
        is_first=before is None,
        wanted=typed,
        since=_as_input(since),
        until=_as_input(until),
        is_filtered=bool(kept),
        export_query=_export_query(kept, since, until),
        query=_encoded(kept),
        choices=[(name, label, bool(typed[name])) for name, label in CHOICES],
        actions=sorted(CATALOGUE.values(), key=lambda action: action.name),
        views=[(one, _encoded(one.filters), one.filters == kept) for one in views.views(member.actor)],
        **_state(),
    )


@require_safe
@page(Right.AUDIT_READ)
def over_time(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The picture of the same search: events by hour, day or month, and links that narrow the time."""
    typed = asked(request, *views.FILTERS)
    since, until = _moment(typed["since"]), _moment(typed["until"], later=timedelta(days=1))
    picture = timeline(since=since, until=until, **_wanted(typed))
    rest = {name: value for name, value in _kept(typed).items() if name not in ("since", "until")}
    columns = [
        (column, _encoded({**rest, "since": _as_input(start), "until": _as_input(end)}))
        for column, (start, end) in zip(picture.chart.columns, picture.spans, strict=True)
    ]
    return show(
        request,
        member,
        "web/audit_timeline.html",
        "audit",
        chart=picture.chart,
        columns=columns,
        counted_since=picture.counted_since,
    )


@require_safe
@page(Right.AUDIT_READ)
def detail(request: HttpRequest, member: MemberPrincipal, event_id: UUID) -> HttpResponse:
    """One event with everything that is known about it, and what proves it."""
    event = _find(event_id)
    proof = _proof(event)
    return show(
        request,
        member,
        "web/audit_event.html",
        "audit",
        event=event,
        parts=event.action.split("."),
        person_kinds=people.PersonKind.values,
        erased=people.ERASED,
        changes=[(name, _said(before), _said(after)) for name, (before, after) in event.changes.items()],
        metadata=[(name, _said(value)) for name, value in event.metadata.items()],
        as_json=json.dumps(event.content, indent=2, ensure_ascii=False),
        as_ocsf=json.dumps(ocsf.ocsf(event), indent=2, ensure_ascii=False),
        proof=proof,
        command=f"python verify_audit.py event {event.pk}.json {event.pk}.tlog-proof --keys audit-keys.json",
        proved_at=checkpoint.at if proof and (checkpoint := sealing.checkpoint_at(proof.size)) else None,
        proof_text=notes.tlog_proof(proof.index, proof.hashes, proof.note) if proof else "",
    )


@require_safe
@page(Right.AUDIT_READ)
def file(request: HttpRequest, member: MemberPrincipal, event_id: UUID, kind: str) -> HttpResponse:
    """The proof (c2sp.org/tlog-proof), or the very bytes that it is of, as a file. What is not sealed has none yet."""
    event = _find(event_id)
    if kind == "json":
        content = event.body
    elif proof := _proof(event):
        content = notes.tlog_proof(proof.index, proof.hashes, proof.note)
    else:
        return HttpResponse("The event is not sealed yet: try again in a second.\n", "text/plain", status=409)
    answer = HttpResponse(content, content_type="text/plain; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{event.pk}.{kind}"'
    return answer


@page(Right.AUDIT_READ)
def view_new(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Keep the search of the address under a name."""
    kept = _kept(asked(request, *views.FILTERS))
    form = ViewForm(request.POST or None)
    made = attempt(member, form, lambda: views.save(actor=member.actor, filters=kept, **form.cleaned_data))
    if made is None:
        return show(
            request, member, "web/audit_view_new.html", "audit", form=form, kept=_words_of(kept), query=_encoded(kept)
        )
    return redirect(f"{reverse('audit', kwargs={'slug': member.slug})}?{_encoded(made.filters)}")


@page(Right.AUDIT_READ)
def view_delete(request: HttpRequest, member: MemberPrincipal, audit_view_id: UUID) -> HttpResponse:
    """Forget a search that was kept, once somebody has said yes."""
    try:
        found = views.view(audit_view_id, member.actor)
    except NotFound:
        raise Http404 from None
    if request.method == "POST":
        done = "The saved search is deleted."
        perform(request, member, lambda: views.delete(actor=member.actor, view_id=audit_view_id), done)
        return redirect("audit", slug=member.slug)
    return show(request, member, "web/audit_view_delete.html", "audit", view=found, query=_encoded(found.filters))


def _wanted(typed: Mapping[str, str]) -> Wanted:
    return {
        "action": typed["action"],
        "actor": typed["actor"],
        "target": typed["target"],
        "ip": typed["ip"],
        "text": typed["text"],
        "is_failure": bool(typed["is_failure"]),
        "is_staff": bool(typed["is_staff"]),
    }


def _kept(typed: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in typed.items() if value}


def _export_query(kept: Mapping[str, str], since: datetime | None, until: datetime | None) -> str:
    """The same choice for a new export; nothing where there is none, or exports cannot choose so."""
    if not kept.keys() <= EXPORTABLE:
        return ""
    return _encoded(_kept({**kept, "since": _as_input(since), "until": _as_input(until)}))


def _words_of(kept: Mapping[str, str]) -> list[tuple[str, str]]:
    """Filters as the page calls them."""
    return [(WORDS[name], "yes" if name in dict(CHOICES) else value) for name, value in kept.items()]


def _encoded(filters: Mapping[str, str]) -> str:
    query = QueryDict(mutable=True)
    query.update(dict(filters))
    return query.urlencode()


def _state() -> dict[str, Any]:
    """How much of the log is proved, and since when the rest waits."""
    newest = AuditEvent.objects.order_by("-id").values_list("id", flat=True).first()
    waiting_since = None
    if newest and not Leaf.objects.filter(event_id=newest).exists():
        last = Leaf.objects.order_by("-seq").values_list("event_id", flat=True).first()
        rest = AuditEvent.objects.filter(id__gt=last) if last else AuditEvent.objects.all()
        oldest = rest.order_by("id").first()
        waiting_since = oldest.occurred_at if oldest else None
    return {"checkpoint": sealing.latest_checkpoint(), "waiting_since": waiting_since}


def _find(event_id: UUID) -> AuditEvent:
    event = selectors.event(event_id)
    if event is None:
        raise Http404
    return event


def _proof(event: AuditEvent) -> sealing.Proved | None:
    try:
        return sealing.inclusion_proof(event.pk)
    except sealing.NotSealed:
        return None


def _said(value: Any) -> str:
    """A value of an event for people."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _moment(text: str, later: timedelta = timedelta()) -> datetime | None:
    """A day, or a minute of one, in UTC; `later` is added to a day alone."""
    for pattern, added in (("%Y-%m-%d", later), ("%Y-%m-%dT%H:%M", timedelta())):
        try:
            return datetime.strptime(text, pattern).replace(tzinfo=UTC) + added
        except (ValueError, OverflowError):  # nothing, no such day, or the last one that there is
            continue
    return None


def _as_input(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M") if moment else ""
