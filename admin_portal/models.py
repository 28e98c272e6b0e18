"""Holds who of the staff looked after customers, when and why, and what they did."""

from typing import ClassVar

import uuid_utils.compat as uuid_utils
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone


class StaffSession(models.Model):
    """A while in which a member of staff may use the console, for one reason."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    ip = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=~models.Q(reason=""), name="staff_session_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M} {self.reason}"


class StaffAct(models.Model):
    """Something that was done in a staff session; what concerns an organization stands in its audit trail too."""

    session = models.ForeignKey(StaffSession, on_delete=models.PROTECT, related_name="acts")
    what = models.CharField(max_length=64)
    targets = ArrayField(models.CharField(max_length=255))
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar[list[str]] = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.what} {', '.join(self.targets[:3])}"
