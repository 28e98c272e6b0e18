"""Holds audit events: snapshots without foreign keys, which outlive what they describe."""

from django.db import models
from django.utils import timezone

from tenancy.scope import Owned


class AuditEvent(Owned):
    """One thing that happened: who did what to which target, from where. Never changed nor deleted."""

    purge_function = "audit_purge"
    organization_id = models.UUIDField()
    action = models.CharField(max_length=64)
    actor = models.JSONField()  # {kind, id, label}
    target = models.JSONField()  # {kind, id, label}
    context = models.JSONField()  # {request_id, ip, user_agent}
    metadata = models.JSONField(default=dict)
    occurred_at = models.DateTimeField(default=timezone.now)

    class Meta(Owned.Meta):
        indexes = [
            models.Index(fields=["organization_id", "-id"], name="audit_newest"),
            models.Index(fields=["organization_id", "action", "-id"], name="audit_by_action"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target.get('label', '')}"
