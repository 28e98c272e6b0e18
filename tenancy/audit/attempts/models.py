"""Holds how often something was tried in an hour, until the hour is over and summed up."""

from django.db import models

from tenancy.scope import OwnedModel


class AttemptCount(OwnedModel):
    """How often one source did one thing in one hour. An empty source is all those beyond MOST_SOURCES."""

    hour = models.DateTimeField()
    action = models.CharField(max_length=64)
    source = models.CharField(max_length=64, blank=True)
    count = models.BigIntegerField()
    actor = models.JSONField()  # {kind, id, label} of the first
    target = models.JSONField()

    class Meta(OwnedModel.Meta):
        constraints = [
            models.UniqueConstraint(fields=["organization", "hour", "action", "source"], name="attempts_counted_once")
        ]
        indexes = [models.Index(fields=["hour"], name="attempts_by_hour")]

    def __str__(self) -> str:
        return f"{self.count} {self.action} {self.hour:%Y-%m-%d %H}h"
