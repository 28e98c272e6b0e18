"""Reads the audit trail of the organization in scope, newest first."""

from datetime import datetime
from uuid import UUID

from django.db.models import Q

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

    `action` matches from the start (`organization.member`), `actor` and `target` an id or a part of a label.
    """
    if "\0" in action + actor + target:
        return []  # PostgreSQL stores no NUL, and refuses to look for one
    rows = AuditEvent.objects.order_by("-id")
    if before:
        rows = rows.filter(id__lt=before)
    if action:
        rows = rows.filter(action__startswith=action)
    if actor:
        rows = rows.filter(Q(actor__id=actor) | Q(actor__label__icontains=actor))
    if target:
        rows = rows.filter(Q(target__id=target) | Q(target__label__icontains=target))
    if since:
        rows = rows.filter(occurred_at__gte=since)
    if until:
        rows = rows.filter(occurred_at__lt=until)
    return list(rows[:limit])
