"""Reads the audit trail of the organization in scope, newest first."""

from datetime import datetime
from uuid import UUID

from django.db.models import JSONField, Q, QuerySet
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Cast

from tenancy.audit.models import AuditEvent
from tenancy.audit.people import ids_like, reveal


def events(
    *,
    before: UUID | None = None,
    limit: int = 50,
    action: str = "",
    actor: str = "",
    target: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[AuditEvent]:
    """At most `limit` events older than the id `before`.

    `action` matches from the start (`organization.member`), `actor` and `target` an id or a part of a label;
    `since` and `until` hold to the millisecond.
    """
    rows = matching(AuditEvent.objects.order_by("-id"), action=action, actor=actor, target=target)
    if before:
        rows = rows.filter(id__lt=before)
    if since:
        rows = rows.filter(id__gte=first_id(since))
    if until:
        rows = rows.filter(id__lt=first_id(until))
    return reveal(rows[:limit])


def matching(
    rows: QuerySet[AuditEvent], *, action: str = "", actor: str = "", target: str = ""
) -> QuerySet[AuditEvent]:
    """Those of the events that `events` would find by these."""
    if "\0" in action + actor + target:
        return rows.none()  # PostgreSQL stores no NUL, and refuses to look for one
    if action:
        rows = rows.filter(action__startswith=action)
    if actor:
        people, _ = ids_like(actor)
        rows = rows.alias(who=_label("actor"))
        rows = rows.filter(Q(actor_id__in=[actor, *people]) | Q(who__icontains=actor))
    if target:
        people, end_users = ids_like(target)
        rows = rows.alias(whom=_label("target"))
        rows = rows.filter(Q(target_id__in=[target, *people, *end_users]) | Q(whom__icontains=target))
    return rows


def first_id(moment: datetime) -> UUID:
    """The lowest id (UUIDv7) of the moment's millisecond: what is recorded from then on has this one or a higher."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)


def _label(party: str) -> KeyTextTransform:
    return KeyTextTransform("label", KeyTransform(party, Cast("body", JSONField())))
