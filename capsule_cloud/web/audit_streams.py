"""Streams of the audit log: how far they are, their logs, tests, replays, secrets shown once, events set aside."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.web import once
from capsule_cloud.web.audit_stream_forms import PlaceForm, StreamForm
from capsule_cloud.web.console import asked_id, attempt, page, perform, show
from capsule_cloud.web.webhook_forms import SecretRotateForm
from tenancy.access import MemberPrincipal
from tenancy.audit.streams import selectors, services
from tenancy.audit.streams.models import Delivery, Kind, Stream
from tenancy.errors import Conflict, NotFound
from tenancy.roles import Right

ONCE = "new_stream_secret"
PAGE_SIZE = 50


@require_safe
@page(Right.AUDIT_EXPORT)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Every stream with its state and its lag."""
    return show(request, member, "web/audit_streams.html", "audit", streams=selectors.streams())


@page(Right.AUDIT_EXPORT)
def new(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Add a stream of a kind."""
    kind = request.GET.get("kind", request.POST.get("kind", Kind.SPLUNK.value))
    if kind not in Kind.values:
        raise Http404
    form = StreamForm(kind, request.POST or None)
    made = attempt(member, form, lambda: services.create(actor=member.actor, kind=kind, **form.asked()))
    if made is None:
        return _show_form(request, member, form, kind, None)
    if made.secret:
        return _show_once(request, member, made)
    messages.success(request, "The stream is added. Send a test to see whether it arrives.")
    return redirect("audit_stream", slug=member.slug, audit_stream_id=made.stream.pk)


@require_safe
@page(Right.AUDIT_EXPORT)
def detail(request: HttpRequest, member: MemberPrincipal, audit_stream_id: UUID) -> HttpResponse:
    """One stream: how it fares, what it refused, and its log, newest first."""
    health = _find(audit_stream_id)
    rows = selectors.deliveries(stream_id=audit_stream_id, before=asked_id(request, "before"), limit=PAGE_SIZE + 1)
    return show(
        request,
        member,
        "web/audit_stream.html",
        "audit",
        health=health,
        stream=health.stream,
        deliveries=rows[:PAGE_SIZE],
        older=rows[PAGE_SIZE - 1].pk if len(rows) > PAGE_SIZE else None,
        is_first="before" not in request.GET,
        letters=selectors.dead_letters(stream_id=audit_stream_id, limit=PAGE_SIZE),
    )


@page(Right.AUDIT_EXPORT)
def edit(request: HttpRequest, member: MemberPrincipal, audit_stream_id: UUID) -> HttpResponse:
    """Change a stream."""
    stream = _find(audit_stream_id).stream
    form = StreamForm(stream.kind, request.POST or None, stream)
    done = attempt(member, form, lambda: services.update(actor=member.actor, stream_id=audit_stream_id, **form.asked()))
    if done is None:
        return _show_form(request, member, form, stream.kind, stream)
    messages.success(request, "Saved. It holds for the next batch.")
    return redirect("audit_stream", slug=member.slug, audit_stream_id=audit_stream_id)


def _show_form(
    request: HttpRequest, member: MemberPrincipal, form: StreamForm, kind: str, stream: Stream | None
) -> HttpResponse:
    return show(
        request,
        member,
        "web/audit_stream_form.html",
        "audit",
        form=form,
        kind=kind,
        kinds=Kind.choices,
        stream=stream,
    )


@page(Right.AUDIT_EXPORT)
def secret(request: HttpRequest, member: MemberPrincipal, audit_stream_id: UUID) -> HttpResponse:
    """A new secret, once: asked again, the page only says so."""
    stream = _find(audit_stream_id).stream
    plain = once.take(request, ONCE, audit_stream_id)
    return show(request, member, "web/audit_stream_secret.html", "audit", stream=stream, secret=plain)


@page(Right.AUDIT_EXPORT)
def rotate(request: HttpRequest, member: MemberPrincipal, audit_stream_id: UUID) -> HttpResponse:
    """Make a new secret; both sign for the chosen overlap."""
    stream = _find(audit_stream_id).stream
    form = SecretRotateForm(request.POST or None)
    made = attempt(
        member,
        form,
        lambda: services.rotate(actor=member.actor, stream_id=audit_stream_id, overlap=form.cleaned_data["overlap"]),
    )
    if made is None:
        return show(request, member, "web/audit_stream_rotate.html", "audit", form=form, stream=stream)
    return _show_once(request, member, made)


@page(Right.AUDIT_EXPORT)
def replay(request: HttpRequest, member: MemberPrincipal, audit_stream_id: UUID) -> HttpResponse:
    """Go on from another place of the log."""
    health = _find(audit_stream_id)
    form = PlaceForm(request.POST or None)
    moved = attempt(
        member,
        form,
        lambda: services.replay(
            actor=member.actor,
            stream_id=audit_stream_id,
            seq=form.cleaned_data["seq"],
            since=form.cleaned_data["since"],
        ),
    )
    if moved is None:
        return show(
            request, member, "web/audit_stream_replay.html", "audit", form=form, stream=health.stream, health=health
        )
    messages.success(request, f"It goes on with the event at place {moved.next_seq}.")
    return redirect("audit_stream", slug=member.slug, audit_stream_id=audit_stream_id)


@require_POST
@page(Right.AUDIT_EXPORT, is_scoped=False)
def test(request: HttpRequest, member: MemberPrincipal, audit_stream_id: UUID) -> HttpResponse:
    """Send a sentence that is no event, and say what came of it."""
    try:
        sent = services.test(actor=member.actor, organization_id=member.organization_id, stream_id=audit_stream_id)
    except NotFound:
        raise Http404 from None
    _tell(request, sent, "The test arrived.")
    return redirect("audit_stream", slug=member.slug, audit_stream_id=audit_stream_id)


@require_POST
@page(Right.AUDIT_EXPORT)
def switch(request: HttpRequest, member: MemberPrincipal, audit_stream_id: UUID) -> HttpResponse:
    """Pause a stream, or let it go on."""
    if request.POST.get("on"):
        done = "The stream goes on where it was."
        perform(request, member, lambda: services.resume(actor=member.actor, stream_id=audit_stream_id), done)
    else:
        done = "The stream is paused. Its place is kept."
        perform(request, member, lambda: services.pause(actor=member.actor, stream_id=audit_stream_id), done)
    return redirect("audit_stream", slug=member.slug, audit_stream_id=audit_stream_id)


@page(Right.AUDIT_EXPORT)
def delete(request: HttpRequest, member: MemberPrincipal, audit_stream_id: UUID) -> HttpResponse:
    """Delete a stream with its secrets and its log."""
    stream = _find(audit_stream_id).stream
    if request.method == "POST":
        gone = "The stream is deleted."
        perform(request, member, lambda: services.delete(actor=member.actor, stream_id=audit_stream_id), gone)
        return redirect("audit_streams", slug=member.slug)
    return show(request, member, "web/audit_stream_delete.html", "audit", stream=stream)


@require_POST
@page(Right.AUDIT_EXPORT, is_scoped=False)
def resend(request: HttpRequest, member: MemberPrincipal, audit_stream_id: UUID, dead_letter_id: UUID) -> HttpResponse:
    """Send an event that was set aside once more."""
    try:
        sent = services.resend(actor=member.actor, organization_id=member.organization_id, letter_id=dead_letter_id)
    except NotFound:
        raise Http404 from None
    except Conflict as failure:
        messages.error(request, str(failure))
    else:
        _tell(request, sent, "The event arrived.")
    return redirect("audit_stream", slug=member.slug, audit_stream_id=audit_stream_id)


def _tell(request: HttpRequest, sent: Delivery, done: str) -> None:
    if sent.has_arrived:
        messages.success(request, done)
    else:
        messages.error(request, f"It did not arrive. {sent.sentence}")


def _find(stream_id: UUID) -> selectors.Health:
    try:
        return selectors.stream(stream_id)
    except NotFound:
        raise Http404 from None


def _show_once(request: HttpRequest, member: MemberPrincipal, made: services.NewSecret) -> HttpResponse:
    once.keep(request, ONCE, made.stream.pk, made.secret)
    messages.success(request, "The secret is ready.")
    return redirect("audit_stream_secret", slug=member.slug, audit_stream_id=made.stream.pk)
