"""Holds what Stripe would keep: objects, the answers to repeated requests, metered usage, webhooks under way."""

from typing import ClassVar

from django.db import models


class Object(models.Model):
    """One of Stripe's objects as the API shows it; what only the simulator knows is under `_` in the body."""

    account = models.CharField(max_length=64)
    stripe_id = models.CharField(max_length=255)
    kind = models.CharField(max_length=64)
    customer = models.CharField(max_length=255, blank=True)
    due_at = models.BigIntegerField(null=True)  # Unix seconds of the customer's own time, when something must happen
    body = models.JSONField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["account", "stripe_id"], name="sandbox_object_once")
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["account", "kind", "-id"], name="sandbox_newest"),
            models.Index(fields=["account", "customer", "kind"], name="sandbox_of_customer"),
            models.Index(fields=["due_at"], name="sandbox_due", condition=models.Q(due_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.stripe_id


class Answer(models.Model):
    """What a request with an Idempotency-Key was answered; kept for a day, as Stripe does."""

    account = models.CharField(max_length=64)
    key = models.CharField(max_length=255)
    request = models.CharField(max_length=64)  # sha256 of operation and parameters
    status = models.PositiveSmallIntegerField()
    body = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["account", "key"], name="sandbox_answer_once")
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["created_at"], name="sandbox_answer_age")]

    def __str__(self) -> str:
        return self.key


class MeteredEvent(models.Model):
    """Usage reported to a meter."""

    account = models.CharField(max_length=64)
    event_name = models.CharField(max_length=100)
    customer = models.CharField(max_length=255)
    identifier = models.CharField(max_length=100)
    value = models.DecimalField(max_digits=36, decimal_places=12)
    occurred_at = models.BigIntegerField()  # Unix seconds
    received_at = models.BigIntegerField()  # Unix seconds; identifiers are remembered for a day

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["account", "event_name", "customer", "occurred_at"], name="sandbox_usage"),
            models.Index(fields=["account", "identifier"], name="sandbox_identifier"),
        ]

    def __str__(self) -> str:
        return self.identifier


class Delivery(models.Model):
    """One event on its way to one webhook endpoint; rows that arrived are kept for a day."""

    account = models.CharField(max_length=64)
    event = models.CharField(max_length=255)
    url = models.CharField(max_length=2048)
    secret = models.CharField(max_length=255)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True)
    last_answer = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at"], name="sandbox_delivery_due", condition=models.Q(done_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.url}"
