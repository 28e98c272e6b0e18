"""Writes endpoints of the organization in scope, and sends them tests, single deliveries again, and replays."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuid_utils
from django.conf import settings
from django.db import connection
from django.template.loader import render_to_string
from django.utils import timezone

from capsule_cloud.lib import http
from capsule_cloud.lib.jobs import enqueue
from tenancy import letters
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.errors import Conflict, Invalid, LimitReached, NotFound
from tenancy.models import Organization, Project
from tenancy.roles import Right
from tenancy.scope import current_organization_id
from tenancy.webhooks import catalogue, events, signing
from tenancy.webhooks.models import Delivery, Endpoint, Event
from tenancy.webhooks.selectors import SHOWN_STATES

MOST_ENDPOINTS = 50
MAX_OVERLAP = timedelta(days=7)
DEFAULT_OVERLAP = timedelta(days=1)
KEPT = timedelta(days=30)  # events, deliveries and attempts
WAITS = timedelta(days=7)  # what could not be sent all that time is given up
PAUSE_AFTER, LEAST_FAILURES = timedelta(days=1), 10


@dataclass(frozen=True, slots=True)
class NewSecret:
    """An endpoint and the secret that it has now. The secret exists here alone: show it once and forget it."""

    endpoint: Endpoint
    secret: str


def target(endpoint: Endpoint) -> Target:
    """An endpoint as an audit target."""
    return Target("webhook_endpoint", str(endpoint.pk), endpoint.shown_url)


def create(
    *,
    actor: Actor,
    url: str,
    description: str = "",
    event_types: Sequence[str] = (),
    project_ids: Sequence[UUID] = (),
    is_ordered: bool = False,
) -> NewSecret:
    """An endpoint that is told, from now on, the events of these types (none: all) in these projects (none: all).

    Ordered, it gets one after the other: an event waits until the one before it has arrived or was given up.
    Raises Invalid, or LimitReached.
    """
    _begin_to_listen()
    if Endpoint.objects.filter(state__in=SHOWN_STATES).count() >= MOST_ENDPOINTS:
        raise LimitReached(f"There are {MOST_ENDPOINTS} endpoints: delete one first.")
    keys = signing.new_keys()
    endpoint = Endpoint.objects.create(
        url=_clean_url(url),
        description=_clean_description(description),
        event_types=_clean_types(event_types),
        project_ids=_clean_projects(project_ids),
        is_ordered=is_ordered,
        sealed_keys=signing.seal(keys),
    )
    metadata = {"event_types": endpoint.event_types, "project_ids": list(map(str, endpoint.project_ids))}
    record(action=actions.WEBHOOK_CREATED, actor=actor, target=target(endpoint), metadata=metadata)
    return NewSecret(endpoint, keys.secret_text)


def update(
    *,
    actor: Actor,
    endpoint_id: UUID,
    url: str | None = None,
    description: str | None = None,
    event_types: Sequence[str] | None = None,
    project_ids: Sequence[UUID] | None = None,
    is_ordered: bool | None = None,
) -> Endpoint:
    """Change an endpoint; None leaves a field as it is. Raises NotFound or Invalid."""
    endpoint = _locked(endpoint_id)
    asked: dict[str, Any] = {
        "url": None if url is None else _clean_url(url),
        "description": None if description is None else _clean_description(description),
        "event_types": None if event_types is None else _clean_types(event_types),
        "project_ids": None if project_ids is None else _clean_projects(project_ids),
        "is_ordered": is_ordered,
    }
    was = endpoint.shown_url
    wanted = {name: value for name, value in asked.items() if value is not None}
    if changes := actions.WEBHOOK_UPDATED.change(endpoint, wanted):
        endpoint.save(update_fields=list(changes))
        if "url" in changes:
            changes["url"] = [was, endpoint.shown_url]
        record(action=actions.WEBHOOK_UPDATED, actor=actor, target=target(endpoint), changes=changes)
    return endpoint


def enable(*, actor: Actor, endpoint_id: UUID) -> Endpoint:
    """Let an endpoint that is paused or disabled be told again: what waits for it goes out at once. Raises NotFound."""
    _begin_to_listen()
    endpoint = _locked(endpoint_id)
    if endpoint.state != Endpoint.State.ACTIVE:
        endpoint.failures, endpoint.failing_since, endpoint.retry_at = 0, None, None
        endpoint.save(update_fields=["failures", "failing_since", "retry_at"])
        Delivery.objects.filter(endpoint=endpoint, state=Delivery.State.PENDING).update(due_at=timezone.now())
        _move(endpoint, Endpoint.State.ACTIVE, "", actions.WEBHOOK_ENABLED, actor)
        enqueue("webhooks.deliver")
    return endpoint


def disable(*, actor: Actor, endpoint_id: UUID) -> Endpoint:
    """Tell an endpoint nothing any more: what waits is given up, what happens now is not kept. Raises NotFound."""
    endpoint = _locked(endpoint_id)
    if endpoint.state != Endpoint.State.DISABLED:
        _give_up(endpoint)
        _move(endpoint, Endpoint.State.DISABLED, "", actions.WEBHOOK_DISABLED, actor)
    return endpoint


def delete(*, actor: Actor, endpoint_id: UUID) -> None:
    """Delete an endpoint and its secrets; its log ends with the time that logs are kept. Raises NotFound."""
    endpoint = _locked(endpoint_id)
    endpoint.sealed_keys, endpoint.sealed_previous = b"", None
    endpoint.save(update_fields=["sealed_keys", "sealed_previous"])
    _give_up(endpoint)
    _move(endpoint, Endpoint.State.DELETED, "", actions.WEBHOOK_DELETED, actor)


def rotate(*, actor: Actor, endpoint_id: UUID, overlap: timedelta = DEFAULT_OVERLAP) -> NewSecret:
    """Give an endpoint a new secret; until the overlap is over, everything is signed with both.

    An overlap of none ends the old secret at once, for one that has leaked. Raises NotFound, Invalid, or Conflict
    while the secret before the last still signs.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise Invalid("overlap", "Choose an overlap of 0 seconds to 7 days.")
    endpoint = _locked(endpoint_id)
    now = timezone.now()
    if overlap and endpoint.previous_until and endpoint.has_two_secrets:
        raise Conflict(
            f"The secret was rotated lately, and the one before it signs until {endpoint.previous_until:%d %b, %H:%M} "
            "UTC: rotate then, or without an overlap now."
        )
    keys = signing.new_keys()
    endpoint.sealed_previous = endpoint.sealed_keys if overlap else None
    endpoint.previous_until = now + overlap if overlap else None
    endpoint.sealed_keys = signing.seal(keys)
    endpoint.save(update_fields=["sealed_keys", "sealed_previous", "previous_until"])
    metadata = {"overlap_seconds": int(overlap.total_seconds())}
    action = actions.WEBHOOK_SECRET_ROTATED
    changes = action.changed({"secret": "old"}, {"secret": "new"})
    record(action=action, actor=actor, target=target(endpoint), metadata=metadata, changes=changes)
    return NewSecret(endpoint, keys.secret_text)


def send_test(*, actor: Actor, endpoint_id: UUID) -> Delivery:
    """Send a test event to one endpoint, once, whatever its state; the delivery tells the rest. Raises NotFound."""
    endpoint = _locked(endpoint_id)
    event_id, now, organization_id = uuid_utils.uuid7(), timezone.now(), current_organization_id()
    data = {"endpoint_id": endpoint.pk, "sentence": "If you can read this, your endpoint works."}
    body = events.body_of(catalogue.TEST, event_id, data=data, organization_id=organization_id, project_id=None, at=now)
    event = Event.objects.create(
        id=event_id,
        number=_next_number(),
        type=catalogue.TEST.name,
        key=f"test:{event_id}",
        body=body,
        occurred_at=now,
    )
    return _send(actor, actions.WEBHOOK_TESTED, endpoint, event, Delivery.Reason.TEST)


def resend(*, actor: Actor, delivery_id: UUID) -> Delivery:
    """Send the event of a delivery once more, with the same id, behind what waits. Raises NotFound, or Conflict."""
    old = Delivery.objects.select_related("endpoint", "event").filter(pk=delivery_id).first()
    if old is None or old.endpoint.state == Endpoint.State.DELETED:
        raise NotFound("There is no such delivery.")
    if old.endpoint.state == Endpoint.State.DISABLED:
        raise Conflict("The endpoint is disabled: enable it first.")
    if old.state == Delivery.State.PENDING:
        raise Conflict("It is still on its way: it is tried again by itself.")
    return _send(actor, actions.WEBHOOK_RESENT, old.endpoint, old.event, Delivery.Reason.RESEND)


def replay(*, actor: Actor, endpoint_id: UUID, since: datetime, until: datetime | None = None) -> int:
    """Send everything again that happened from a moment on and that the endpoint asks for, in order; returns how much.

    Events are kept for 30 days, from when an endpoint first wanted them. What waits already is not sent twice.
    Raises NotFound, Invalid, or Conflict where the endpoint is disabled.
    """
    endpoint = _locked(endpoint_id)
    if endpoint.state == Endpoint.State.DISABLED:
        raise Conflict("The endpoint is disabled: enable it first.")
    now = timezone.now()
    if not now - KEPT <= since <= now:
        raise Invalid("since", f"Choose a moment of the last {KEPT.days} days.")
    if until is not None and until <= since:
        raise Invalid("until", "Choose a moment after the first one.")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT webhooks_replay(%s, %s, %s, %s)", [current_organization_id(), endpoint.pk, since, until or now]
        )
        [(count,)] = cursor.fetchall()
    metadata = {"since": since.isoformat(), "until": (until or now).isoformat(), "deliveries": count}
    record(action=actions.WEBHOOK_REPLAYED, actor=actor, target=target(endpoint), metadata=metadata)
    enqueue("webhooks.deliver")
    return int(count)


def pause_failing(*, endpoint_id: UUID) -> bool:
    """Pause an endpoint that failed for a day, and tell those who look after it; whether it was paused.

    What happens meanwhile waits for seven days.
    """
    endpoint = _locked_active(endpoint_id)
    since = None if endpoint is None else endpoint.failing_since
    if endpoint is None or since is None or endpoint.failures < LEAST_FAILURES or since > timezone.now() - PAUSE_AFTER:
        return False  # somebody was faster, or it answered meanwhile
    reason = f"Nothing arrived since {since:%d %b %Y, %H:%M} UTC, in {endpoint.failures} rounds of attempts."
    _move(endpoint, Endpoint.State.PAUSED, reason, actions.WEBHOOK_PAUSED, SYSTEM)
    _tell(endpoint, "paused", "A webhook endpoint is paused")
    return True


def disable_gone(*, endpoint_id: UUID) -> bool:
    """Disable an endpoint that answered 410 Gone, and tell those who look after it; whether it was active."""
    endpoint = _locked_active(endpoint_id)
    if endpoint is None:
        return False
    _give_up(endpoint)
    _move(endpoint, Endpoint.State.DISABLED, "It answered 410 Gone.", actions.WEBHOOK_DISABLED, SYSTEM)
    _tell(endpoint, "gone", "A webhook endpoint is gone")
    return True


def _locked(endpoint_id: UUID) -> Endpoint:
    shown = Endpoint.objects.select_for_update(no_key=True).filter(pk=endpoint_id, state__in=SHOWN_STATES)
    endpoint = shown.first()
    if endpoint is None:
        raise NotFound("There is no such endpoint.")
    return endpoint


def _locked_active(endpoint_id: UUID) -> Endpoint | None:
    active = Endpoint.objects.select_for_update(no_key=True).filter(pk=endpoint_id, state=Endpoint.State.ACTIVE)
    return active.first()


def _move(endpoint: Endpoint, state: Endpoint.State, reason: str, action: actions.Action, actor: Actor) -> None:
    changes = action.change(endpoint, {"state": state})
    endpoint.state_reason, endpoint.state_since = reason, timezone.now()
    endpoint.save(update_fields=["state", "state_reason", "state_since"])
    record(action=action, actor=actor, target=target(endpoint), changes=changes, reason=reason)


def _give_up(endpoint: Endpoint) -> None:
    waiting = Delivery.objects.filter(endpoint=endpoint, state=Delivery.State.PENDING)
    waiting.update(state=Delivery.State.DEAD, last_code="disabled", done_at=timezone.now(), leased_until=None)


def _send(actor: Actor, action: actions.Action, endpoint: Endpoint, event: Event, reason: Delivery.Reason) -> Delivery:
    number = _next_number()
    delivery = Delivery.objects.create(
        endpoint=endpoint, event=event, number=-number if reason == Delivery.Reason.TEST else number, reason=reason
    )
    metadata = {"event_id": str(event.pk), "type": event.type, "delivery_id": str(delivery.pk)}
    record(action=action, actor=actor, target=target(endpoint), metadata=metadata)
    enqueue("webhooks.deliver")
    return delivery


def _next_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('webhooks_order')")
        [(number,)] = cursor.fetchall()
    return int(number)


def _begin_to_listen() -> None:
    """Wait until no transaction is under way that has emitted, and let none emit before this one has ended.

    The first lock of its transaction: whoever emits may hold any other.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT webhooks_begin_to_listen(%s)", [current_organization_id()])


def _tell(endpoint: Endpoint, template: str, subject: str) -> None:
    organization = Organization.objects.get()
    page = f"{settings.PUBLIC_URL}/o/{organization.slug}/webhooks/{endpoint.pk}/"
    context = {"organization": organization, "endpoint": endpoint, "url": endpoint.shown_url, "page": page}
    body = render_to_string(f"webhooks/{template}.txt", context)
    letters.post(letters.holders(Right.WEBHOOKS_WRITE), subject=subject, body=body)


def _clean_url(url: str) -> str:
    url = url.strip()
    try:
        http.place(url)
    except http.Blocked as blocked:
        raise Invalid("url", str(blocked)) from None
    return url


def _clean_description(text: str) -> str:
    text = " ".join(text.split())
    if len(text) > 200 or "\0" in text:
        raise Invalid("description", "Write at most 200 characters.")
    return text


def _clean_types(types: Sequence[str]) -> list[str]:
    unknown = [one for one in types if one not in catalogue.choices()]
    if unknown:
        raise Invalid("event_types", f"There is no event type {unknown[0][:64]!r}: GET /v1/webhooks/event-types.")
    rooms = {one for one in types if one.endswith(".*")}
    return sorted(
        rooms | {one for one in types if catalogue.TYPES.get(one) and catalogue.TYPES[one].group not in rooms}
    )


def _clean_projects(project_ids: Sequence[UUID]) -> list[UUID]:
    found = set(Project.objects.filter(pk__in=project_ids, archived_at=None).values_list("pk", flat=True))
    if found != set(project_ids):
        raise Invalid("project_ids", "There is no such project.")
    return sorted(found)
