"""Reads the audit trail of the organization in scope, newest first."""

from datetime import datetime
from uuid import UUID

from django.db.models import JSONField, Q
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Cast

from tenancy.audit.models import AuditEvent


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
    if "\0" in action + actor + target:
        return []  # PostgreSQL stores no NUL, and refuses to look for one
    rows = AuditEvent.objects.order_by("-id")
    if before:
        rows = rows.filter(id__lt=before)
    if action:
        rows = rows.filter(action__startswith=action)
    if actor:
        rows = rows.alias(who=_label("actor")).filter(Q(actor_id=actor) | Q(who__icontains=actor))
    if target:
        rows = rows.alias(whom=_label("target")).filter(Q(target_id=target) | Q(whom__icontains=target))
    if since:
        rows = rows.filter(id__gte=first_id(since))
    if until:
        rows = rows.filter(id__lt=first_id(until))
    return list(rows[:limit])


def first_id(moment: datetime) -> UUID:
    """The lowest id (UUIDv7) of the moment's millisecond: what is recorded from then on has this one or a higher."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)


def _label(party: str) -> KeyTextTransform:
    return KeyTextTransform("label", KeyTransform(party, Cast("body", JSONField())))
