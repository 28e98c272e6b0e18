"""Exports of the audit log: how they get on, their files, the stores that they go to, and schedules."""

from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.lib import downloads, storage
from capsule_cloud.web.audit_export_forms import ExportForm, ScheduleForm, TargetForm
from capsule_cloud.web.console import attempt, page, perform, show
from tenancy.access import MemberPrincipal
from tenancy.audit.exports import scheduling, selectors, services, targets
from tenancy.audit.exports.models import Export, Schedule, Target
from tenancy.errors import NotFound
from tenancy.roles import Right
from tenancy.scope import scope

SHOWN = 50


@require_safe
@page(Right.AUDIT_EXPORT)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The newest exports, schedules and stores; the list asks again while something is under way."""
    rows = selectors.exports(limit=SHOWN)
    return show(
        request,
        member,
        "web/audit_exports_part.html" if request.headers.get("HX-Request") else "web/audit_exports.html",
        "audit",
        exports=rows,
        is_moving=any(one.is_under_way for one in rows),
        schedules=[(one, _next_at(one)) for one in selectors.schedules()],
        targets=selectors.targets(),
        kinds={name: kind.label for name, kind in storage.KINDS.items()},
    )


@page(Right.AUDIT_EXPORT)
def new(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Ask for an export; the filters of the log's page come along in the address."""
    form = ExportForm(selectors.targets(), request.POST or None, initial=request.GET.dict())
    made = attempt(member, form, lambda: services.request(actor=member.actor, **form.asked()))
    if made is None:
        return show(request, member, "web/audit_export_new.html", "audit", form=form)
    messages.success(request, "The export is queued.")
    return redirect("audit_export", slug=member.slug, audit_export_id=made.pk)


@require_safe
@page(Right.AUDIT_EXPORT)
def detail(request: HttpRequest, member: MemberPrincipal, audit_export_id: UUID) -> HttpResponse:
    """One export: how far it is, then its files and what proves them. It asks again while it is under way."""
    export = _find(audit_export_id)
    files = [{**one, "url": _url_of(member, export, one["name"])} for one in export.files]
    return show(
        request,
        member,
        "web/audit_export_part.html" if request.headers.get("HX-Request") else "web/audit_export.html",
        "audit",
        export=export,
        files=files if selectors.is_offered(export) else [],
        filters=services.words_of(export),
        is_offered=selectors.is_offered(export),
        command=_command(export),
    )


def _command(export: Export) -> str:
    """What checks it; nothing where no manifest says what there should be."""
    name = next((one["name"] for one in export.files if one["holds"] == "manifest"), "")
    return f"python verify_audit.py export {name} --keys audit-keys.json" if name else ""


def _url_of(member: MemberPrincipal, export: Export, name: str) -> str:
    address = reverse("audit_export_file", kwargs={"slug": member.slug, "audit_export_id": export.pk, "name": name})
    return f"{address}?{urlencode({'link': selectors.link_to(export, name)[0]})}"


@require_safe
@page(Right.AUDIT_EXPORT, is_scoped=False)
def file(request: HttpRequest, member: MemberPrincipal, audit_export_id: UUID, name: str) -> HttpResponseBase:
    """Download a file of an export, or go on with it."""
    with scope(member.organization_id):
        try:
            stored = selectors.file(audit_export_id, name, request.GET.get("link", ""))
        except NotFound:
            raise Http404 from None
        if downloads.is_beginning(request):
            services.note_download(actor=member.actor, export=stored.export, name=name)
    return downloads.answer(request, name=name, size=stored.size, sha256=stored.sha256, read=stored.read)


@page(Right.AUDIT_EXPORT)
def end(request: HttpRequest, member: MemberPrincipal, audit_export_id: UUID) -> HttpResponse:
    """Cancel an export that is under way, or delete the files of one that is written, once somebody has said yes."""
    export = _find(audit_export_id)
    if request.method != "POST" and selectors.is_offered(export):
        return show(request, member, "web/audit_export_delete.html", "audit", export=export)
    if request.method == "POST" and export.is_written:
        done = "Its files are deleted within minutes, and nobody gets them any more."
        perform(request, member, lambda: services.delete(actor=member.actor, export_id=audit_export_id), done)
    elif request.method == "POST":
        done = "The export is cancelled."
        perform(request, member, lambda: services.cancel(actor=member.actor, export_id=audit_export_id), done)
    return redirect("audit_export", slug=member.slug, audit_export_id=audit_export_id)


@require_POST
@page(Right.AUDIT_EXPORT)
def send(request: HttpRequest, member: MemberPrincipal, audit_export_id: UUID) -> HttpResponse:
    """Put an export into its store once more."""
    done = "It is on its way to the store."
    perform(request, member, lambda: services.send_again(actor=member.actor, export_id=audit_export_id), done)
    return redirect("audit_export", slug=member.slug, audit_export_id=audit_export_id)


@page(Right.AUDIT_EXPORT)
def target_new(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Add a store of a kind."""
    kind = request.GET.get("kind", request.POST.get("kind", "s3"))
    if kind not in storage.KINDS:
        raise Http404
    form = TargetForm(kind, request.POST or None)
    made = attempt(member, form, lambda: targets.create(actor=member.actor, kind=kind, **form.asked()))
    if made is None:
        return _target_form(request, member, form, kind, None)
    messages.success(request, "The store is added. Test it: a small file is put there.")
    return redirect("audit_target", slug=member.slug, audit_target_id=made.pk)


@page(Right.AUDIT_EXPORT)
def target(request: HttpRequest, member: MemberPrincipal, audit_target_id: UUID) -> HttpResponse:
    """One store: how it fares, and what may be changed."""
    found = _find_target(audit_target_id)
    form = TargetForm(found.kind, request.POST or None, found)
    done = attempt(member, form, lambda: targets.update(actor=member.actor, target_id=audit_target_id, **form.asked()))
    if done is None:
        return _target_form(request, member, form, found.kind, found)
    messages.success(request, "Saved.")
    return redirect("audit_target", slug=member.slug, audit_target_id=audit_target_id)


def _target_form(
    request: HttpRequest, member: MemberPrincipal, form: TargetForm, kind: str, found: Target | None
) -> HttpResponse:
    kinds = [(name, one.label) for name, one in storage.KINDS.items()]
    return show(request, member, "web/audit_target.html", "audit", form=form, kind=kind, kinds=kinds, target=found)


@require_POST
@page(Right.AUDIT_EXPORT, is_scoped=False)
def target_test(request: HttpRequest, member: MemberPrincipal, audit_target_id: UUID) -> HttpResponse:
    """Put a small file into a store."""
    try:
        failure = targets.test(actor=member.actor, organization_id=member.organization_id, target_id=audit_target_id)
    except NotFound:
        raise Http404 from None
    if failure:
        messages.error(request, f"The test failed. {failure}")
    else:
        messages.success(request, "It works: a small file was put there.")
    return redirect("audit_target", slug=member.slug, audit_target_id=audit_target_id)


@page(Right.AUDIT_EXPORT)
def target_delete(request: HttpRequest, member: MemberPrincipal, audit_target_id: UUID) -> HttpResponse:
    """Forget a store and its secrets, once somebody has said yes."""
    found = _find_target(audit_target_id)
    if request.method != "POST":
        users = [one for one in selectors.schedules() if one.target_id == audit_target_id]
        return show(request, member, "web/audit_target_delete.html", "audit", target=found, schedules=users)
    gone = perform(
        request,
        member,
        lambda: targets.delete(actor=member.actor, target_id=audit_target_id),
        "The store is forgotten. What is in it stays there.",
    )
    if gone is None:
        return redirect("audit_target", slug=member.slug, audit_target_id=audit_target_id)
    return redirect("audit_exports", slug=member.slug)


@page(Right.AUDIT_EXPORT)
def schedule_new(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Have what is new exported regularly."""
    form = ScheduleForm(selectors.targets(), request.POST or None)
    made = attempt(member, form, lambda: scheduling.create(actor=member.actor, **form.asked()))
    if made is None:
        return show(request, member, "web/audit_schedule_new.html", "audit", form=form)
    messages.success(request, "The schedule is made. Its first file comes when its range is over.")
    return redirect("audit_exports", slug=member.slug)


@require_POST
@page(Right.AUDIT_EXPORT)
def schedule_pause(request: HttpRequest, member: MemberPrincipal, audit_schedule_id: UUID) -> HttpResponse:
    """Pause a schedule, or let it go on."""
    is_paused = bool(request.POST.get("pause"))
    done = "It is paused." if is_paused else "It goes on, and makes what it missed."
    perform(
        request,
        member,
        lambda: scheduling.pause(actor=member.actor, schedule_id=audit_schedule_id, is_paused=is_paused),
        done,
    )
    return redirect("audit_exports", slug=member.slug)


@page(Right.AUDIT_EXPORT)
def schedule_delete(request: HttpRequest, member: MemberPrincipal, audit_schedule_id: UUID) -> HttpResponse:
    """Make no more of these, once somebody has said yes."""
    found = next((one for one in selectors.schedules() if one.pk == audit_schedule_id), None)
    if found is None:
        raise Http404
    if request.method == "POST":
        gone = "The schedule is deleted. Exports that it made stay."
        perform(request, member, lambda: scheduling.delete(actor=member.actor, schedule_id=audit_schedule_id), gone)
        return redirect("audit_exports", slug=member.slug)
    return show(request, member, "web/audit_schedule_delete.html", "audit", schedule=found)


def _next_at(schedule: Schedule) -> datetime:
    """When its next file is made."""
    return scheduling.end_of(schedule.every, schedule.range_start) + scheduling.MARGIN


def _find(export_id: UUID) -> Export:
    try:
        return selectors.export(export_id)
    except NotFound:
        raise Http404 from None


def _find_target(target_id: UUID) -> Target:
    try:
        return targets.get(target_id)
    except NotFound:
        raise Http404 from None
