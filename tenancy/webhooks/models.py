"""Holds endpoints, events, their deliveries, and every attempt at one."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from tenancy.scope import OwnedModel
from tenancy.webhooks.catalogue import VERSION


def shown_url(url: str) -> str:
    """An address without its query, which may be a secret."""
    return url.partition("?")[0]


class Endpoint(OwnedModel):
    """An address of the customer's that is told about events."""

    class State(models.TextChoices):
        """What becomes of its events."""

        ACTIVE = "active", "Active"
        PAUSED = "paused", "Paused"  # by us, after a day of failures: deliveries wait
        DISABLED = "disabled", "Disabled"  # by the customer, or by 410 Gone: nothing is kept for it
        DELETED = "deleted", "Deleted"  # seen by nobody; its row ends with its log

    url = models.CharField(max_length=2048)
    description = models.CharField(max_length=200, blank=True)
    event_types = ArrayField(models.CharField(max_length=64), default=list)  # or `room.*`; empty: all
    project_ids = ArrayField(models.UUIDField(), default=list)  # empty: all
    is_ordered = models.BooleanField(default=False)
    api_version = models.CharField(max_length=10, default=VERSION)
    state = models.CharField(max_length=8, choices=State.choices, default=State.ACTIVE)
    state_reason = models.CharField(max_length=200, blank=True)
    state_since = models.DateTimeField(default=timezone.now)
    sealed_keys = models.BinaryField()  # see signing.py
    sealed_previous = models.BinaryField(null=True)
    previous_until = models.DateTimeField(null=True)  # both sign until then
    failures = models.PositiveIntegerField(default=0)  # rounds without a success, in a row
    failing_since = models.DateTimeField(null=True)
    retry_at = models.DateTimeField(null=True)  # nothing but tests is sent before
    last_success_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.shown_url

    @property
    def shown_url(self) -> str:
        """The address as it may be shown."""
        return shown_url(self.url)

    @property
    def has_two_secrets(self) -> bool:
        """Whether the secret before this one still signs."""
        return self.previous_until is not None and self.previous_until > timezone.now()


class Event(OwnedModel):
    """Something that happened, as it is told; written in the transaction of what it describes."""

    project_id = models.UUIDField(null=True)
    number = models.BigIntegerField()  # the order, from a sequence: clocks differ
    type = models.CharField(max_length=64)
    key = models.CharField(max_length=200)  # the same key is the same event
    body = models.TextField()  # JSON, the bytes that are sent and signed
    occurred_at = models.DateTimeField()

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "key"], name="webhook_event_once")
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "number"], name="webhook_events_in_order")
        ]

    def __str__(self) -> str:
        return self.type


class Delivery(OwnedModel):
    """An event on its way to one endpoint: at least once, until it arrived or is given up."""

    class State(models.TextChoices):
        """Where it stands."""

        PENDING = "pending", "Waiting"
        DELIVERED = "delivered", "Delivered"
        DEAD = "dead", "Given up"

    class Reason(models.TextChoices):
        """Why it is sent."""

        EVENT = "event", "Event"
        RESEND = "resend", "Sent again"
        REPLAY = "replay", "Replay"
        TEST = "test", "Test"

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="+", db_index=False)
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="+")
    number = models.BigIntegerField()  # the order, from a sequence; a test's is negative, and goes before everything
    reason = models.CharField(max_length=8, choices=Reason.choices, default=Reason.EVENT)
    state = models.CharField(max_length=9, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(default=timezone.now)
    leased_until = models.DateTimeField(null=True)  # a worker has it; one that was killed loses it then
    last_status = models.PositiveIntegerField(null=True)
    last_code = models.CharField(max_length=16, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    done_at = models.DateTimeField(null=True)

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["endpoint", "number"], name="webhook_pending", condition=Q(state="pending")),
            models.Index(fields=["id"], name="webhook_pending_by_age", condition=Q(state="pending")),
            models.Index(
                fields=["organization", "endpoint"],
                name="webhook_under_way",
                condition=Q(state="pending", leased_until__isnull=False),
            ),
            models.Index(fields=["organization", "endpoint", "-id"], name="webhook_log"),
        ]

    def __str__(self) -> str:
        return f"{self.reason} {self.state}"


class Attempt(OwnedModel):
    """One request to an endpoint, and what came of it, in excerpts without secrets."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="+")
    endpoint_id = models.UUIDField()
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    milliseconds = models.PositiveIntegerField()
    status = models.PositiveIntegerField(null=True)
    code = models.CharField(max_length=16, blank=True)  # why there is no answer
    sentence = models.CharField(max_length=300)
    has_arrived = models.BooleanField()
    request = models.JSONField()  # {url, headers}
    response = models.JSONField()  # {headers, body, is_whole}

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "endpoint_id", "-id"], name="webhook_attempts_of_endpoint")
        ]

    def __str__(self) -> str:
        return self.sentence
