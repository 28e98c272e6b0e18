"""Holds Stripe's events as they came, each once, until they are dealt with."""

from typing import ClassVar

from django.db import models
from django.utils import timezone


class StripeEvent(models.Model):
    """One event: stored before anything is done about it, under Stripe's id.

    A worker that has taken it holds it until `claimed_until`; one that dies loses it to the next after that.
    """

    class Status(models.TextChoices):
        """What became of it."""

        NEW = "new", "Waiting"
        DONE = "done", "Done"
        DEAD = "dead", "Given up"

    event_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=255)
    object_kind = models.CharField(max_length=64)
    object_id = models.CharField(max_length=255)
    account = models.CharField(max_length=255, blank=True)
    livemode = models.BooleanField()
    api_version = models.CharField(max_length=64)
    body = models.JSONField()
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.NEW)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    due_at = models.DateTimeField(default=timezone.now)
    claimed_until = models.DateTimeField(null=True, blank=True)
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField(default=timezone.now)
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at"], name="stripe_event_due", condition=models.Q(status="new")),
            models.Index(fields=["object_id"], name="stripe_event_object", condition=models.Q(status="new")),
            models.Index(fields=["-received_at"], name="stripe_event_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"
