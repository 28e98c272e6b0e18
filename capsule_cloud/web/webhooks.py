"""Webhooks: endpoints and how they fare, their log, secrets shown once, tests, resends and replays."""

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.web import once
from capsule_cloud.web.console import asked_id, attempt, page, perform, show
from capsule_cloud.web.webhook_forms import EndpointForm, ReplayForm, SecretRotateForm
from capsule_cloud.web.webhook_snippets import verification
from tenancy.access import MemberPrincipal
from tenancy.errors import NotFound
from tenancy.roles import Right
from tenancy.selectors import projects
from tenancy.webhooks import catalogue, selectors, services
from tenancy.webhooks.models import Delivery

ONCE = "new_webhook_secret"
PAGE_SIZE = 50


@require_safe
@page(Right.WEBHOOKS_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Every endpoint with its state and how much of what was sent arrived."""
    return show(
        request,
        member,
        "web/webhooks.html",
        "webhooks",
        endpoints=selectors.endpoints(),
        snippets=verification(),
        types=[one for one in catalogue.TYPES.values() if not one.is_test],
    )


@page(Right.WEBHOOKS_WRITE)
def new(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Add an endpoint."""
    form = EndpointForm(projects(), request.POST or None)
    made = attempt(member, form, lambda: services.create(actor=member.actor, **form.asked()))
    if made is None:
        return show(request, member, "web/webhook_form.html", "webhooks", form=form, endpoint=None)
    return _show_once(request, member, made)


@require_safe
@page(Right.WEBHOOKS_READ)
def detail(request: HttpRequest, member: MemberPrincipal, endpoint_id: UUID) -> HttpResponse:
    """One endpoint and its log, newest first; `before` is the last id of the page before."""
    health = _find(endpoint_id)
    state, kind = request.GET.get("state", ""), request.GET.get("type", "")
    state = state if state in Delivery.State.values else ""
    kind = kind if kind in catalogue.TYPES else ""
    rows = selectors.deliveries(
        endpoint_id=endpoint_id, state=state, kind=kind, before=asked_id(request, "before"), limit=PAGE_SIZE + 1
    )
    more = request.GET.copy()
    if len(rows) > PAGE_SIZE:
        more["before"] = str(rows[PAGE_SIZE - 1].pk)
    return show(
        request,
        member,
        "web/webhook_rows.html" if request.headers.get("HX-Request") else "web/webhook.html",
        "webhooks",
        health=health,
        endpoint=health.endpoint,
        projects=[one for one in projects() if one.pk in health.endpoint.project_ids],
        deliveries=rows[:PAGE_SIZE],
        more=more.urlencode() if len(rows) > PAGE_SIZE else "",
        is_first="before" not in request.GET,
        state=state,
        kind=kind,
        states=Delivery.State.choices,
        types=list(catalogue.TYPES),
    )


@page(Right.WEBHOOKS_WRITE)
def edit(request: HttpRequest, member: MemberPrincipal, endpoint_id: UUID) -> HttpResponse:
    """Change where an endpoint is and what it is told."""
    endpoint = _find(endpoint_id).endpoint
    form = EndpointForm(projects(), request.POST or None, endpoint)
    call = attempt(member, form, lambda: services.update(actor=member.actor, endpoint_id=endpoint_id, **form.asked()))
    if call is None:
        return show(request, member, "web/webhook_form.html", "webhooks", form=form, endpoint=endpoint)
    messages.success(request, "Saved. It holds for what happens from now on.")
    return redirect("webhook", slug=member.slug, endpoint_id=endpoint_id)


@page(Right.WEBHOOKS_WRITE)
def secret(request: HttpRequest, member: MemberPrincipal, endpoint_id: UUID) -> HttpResponse:
    """A new secret, once: asked again, the page only says so."""
    health = _find(endpoint_id)
    return show(
        request,
        member,
        "web/webhook_secret.html",
        "webhooks",
        health=health,
        endpoint=health.endpoint,
        secret=once.take(request, ONCE, endpoint_id),
        snippets=verification(),
    )


@page(Right.WEBHOOKS_WRITE)
def rotate(request: HttpRequest, member: MemberPrincipal, endpoint_id: UUID) -> HttpResponse:
    """Make a new secret; both sign for the chosen overlap."""
    endpoint = _find(endpoint_id).endpoint
    form = SecretRotateForm(request.POST or None)
    made = attempt(
        member,
        form,
        lambda: services.rotate(actor=member.actor, endpoint_id=endpoint_id, overlap=form.cleaned_data["overlap"]),
    )
    if made is None:
        return show(request, member, "web/webhook_rotate.html", "webhooks", form=form, endpoint=endpoint)
    return _show_once(request, member, made)


@page(Right.WEBHOOKS_WRITE)
def replay(request: HttpRequest, member: MemberPrincipal, endpoint_id: UUID) -> HttpResponse:
    """Send everything again that happened from a moment on."""
    endpoint = _find(endpoint_id).endpoint
    form = ReplayForm(request.POST or None)
    count = attempt(
        member,
        form,
        lambda: services.replay(actor=member.actor, endpoint_id=endpoint_id, since=form.cleaned_data["since"]),
    )
    if count is None:
        return show(request, member, "web/webhook_replay.html", "webhooks", form=form, endpoint=endpoint)
    messages.success(request, f"{count} events are on their way." if count else "There was nothing to send again.")
    return redirect("webhook", slug=member.slug, endpoint_id=endpoint_id)


@require_POST
@page(Right.WEBHOOKS_WRITE)
def test(request: HttpRequest, member: MemberPrincipal, endpoint_id: UUID) -> HttpResponse:
    """Send a test event, and show what comes of it."""
    sent = perform(
        request,
        member,
        lambda: services.send_test(actor=member.actor, endpoint_id=endpoint_id),
        "A test event is on its way.",
    )
    if sent is None:
        return redirect("webhook", slug=member.slug, endpoint_id=endpoint_id)
    return redirect("webhook_delivery", slug=member.slug, delivery_id=sent.pk)


@require_POST
@page(Right.WEBHOOKS_WRITE)
def switch(request: HttpRequest, member: MemberPrincipal, endpoint_id: UUID) -> HttpResponse:
    """Disable an endpoint, or let it be told again."""
    if request.POST.get("on"):
        done = "The endpoint is active. What waited for it goes out now."
        perform(request, member, lambda: services.enable(actor=member.actor, endpoint_id=endpoint_id), done)
    else:
        done = "The endpoint is disabled. Nothing is kept for it."
        perform(request, member, lambda: services.disable(actor=member.actor, endpoint_id=endpoint_id), done)
    return redirect("webhook", slug=member.slug, endpoint_id=endpoint_id)


@page(Right.WEBHOOKS_WRITE)
def delete(request: HttpRequest, member: MemberPrincipal, endpoint_id: UUID) -> HttpResponse:
    """Delete an endpoint and its secrets."""
    endpoint = _find(endpoint_id).endpoint
    if request.method == "POST":
        gone = "The endpoint is deleted."
        perform(request, member, lambda: services.delete(actor=member.actor, endpoint_id=endpoint_id), gone)
        return redirect("webhooks", slug=member.slug)
    return show(request, member, "web/webhook_delete.html", "webhooks", endpoint=endpoint)


@require_safe
@page(Right.WEBHOOKS_READ)
def delivery(request: HttpRequest, member: MemberPrincipal, delivery_id: UUID) -> HttpResponse:
    """One delivery: what is sent, and what each attempt got for an answer. It asks again while it is under way."""
    try:
        found = selectors.delivery(delivery_id)
    except NotFound:
        raise Http404 from None
    attempts = selectors.attempts(delivery_id)
    return show(
        request,
        member,
        "web/webhook_delivery_part.html" if request.headers.get("HX-Request") else "web/webhook_delivery.html",
        "webhooks",
        delivery=found,
        endpoint=found.endpoint,
        log=[{"attempt": one, "sent": _headers(one.request), "got": _headers(one.response)} for one in attempts],
        body=json.dumps(json.loads(found.event.body), indent=2, ensure_ascii=False),
        is_under_way=found.state == Delivery.State.PENDING and not found.attempts,
    )


@require_POST
@page(Right.WEBHOOKS_WRITE)
def resend(request: HttpRequest, member: MemberPrincipal, delivery_id: UUID) -> HttpResponse:
    """Send an event once more."""
    sent = perform(
        request, member, lambda: services.resend(actor=member.actor, delivery_id=delivery_id), "It is on its way again."
    )
    return redirect("webhook_delivery", slug=member.slug, delivery_id=sent.pk if sent else delivery_id)


def _headers(excerpt: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in excerpt.get("headers", {}).items())


def _find(endpoint_id: UUID) -> selectors.Health:
    try:
        return selectors.endpoint(endpoint_id)
    except NotFound:
        raise Http404 from None


def _show_once(request: HttpRequest, member: MemberPrincipal, made: services.NewSecret) -> HttpResponse:
    once.keep(request, ONCE, made.endpoint.pk, made.secret)
    messages.success(request, "The secret is ready.")
    return redirect("webhook_secret", slug=member.slug, endpoint_id=made.endpoint.pk)
