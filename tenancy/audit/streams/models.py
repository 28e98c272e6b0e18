"""Holds streams, their log, and events that a target refused for good."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from tenancy.scope import OwnedModel


class Kind(models.TextChoices):
    """What listens there."""

    SPLUNK = "splunk", "Splunk (HTTP Event Collector)"
    DATADOG = "datadog", "Datadog Logs"
    HTTPS = "https", "Signed HTTPS webhook"
    SYSLOG = "syslog", "Syslog over TLS"
    S3 = "s3", "S3 or compatible"
    GCS = "gcs", "Google Cloud Storage"
    AZURE = "azure", "Azure Blob Storage"


STORES = (Kind.S3, Kind.GCS, Kind.AZURE)


class Stream(OwnedModel):
    """A place that is sent the organization's trail, from `next_seq` on."""

    class State(models.TextChoices):
        """Whether it is sent anything; an active one that fails is `is_failing`."""

        ACTIVE = "active", "Active"
        PAUSED = "paused", "Paused"  # by a person, or by us after a day of failures: it goes on where it was
        DISABLED = "disabled", "Disabled"  # by us, because it answered 410 Gone

    name = models.CharField(max_length=64)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    options = models.JSONField()
    sealed_secrets = models.BinaryField()  # a JSON object, encrypted
    sealed_keys = models.BinaryField(null=True)  # what signs: only of a webhook; see webhooks.signing
    sealed_previous = models.BinaryField(null=True)
    previous_until = models.DateTimeField(null=True)  # both sign until then
    has_ocsf = models.BooleanField(default=False)
    has_people = models.BooleanField(default=True)  # whether pseudonyms come with what they stand for
    state = models.CharField(max_length=8, choices=State.choices, default=State.ACTIVE)
    state_reason = models.CharField(max_length=300, blank=True)
    state_since = models.DateTimeField(default=timezone.now)
    # How far it is
    next_seq = models.BigIntegerField()
    proved_size = models.BigIntegerField(default=0)  # of the last checkpoint that a store has
    most_events = models.PositiveIntegerField(null=True)  # in a batch, while one with an event that is refused is split
    refusals = models.PositiveIntegerField(default=0)  # of the event at next_seq, alone
    set_aside_in_row = models.PositiveIntegerField(default=0)
    # How it fares
    failures = models.PositiveIntegerField(default=0)  # in a row
    failing_since = models.DateTimeField(null=True)
    last_success_at = models.DateTimeField(null=True)
    sent = models.BigIntegerField(default=0)  # events that have arrived
    # Who is at work
    due_at = models.DateTimeField(default=timezone.now)
    turn = models.UUIDField(null=True)
    leased_until = models.DateTimeField(null=True)  # who was killed loses it then
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at"], name="audit_streams_due", condition=Q(state="active")),
            models.Index(fields=["organization", "id"], name="audit_streams_of"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_store(self) -> bool:
        """Whether it takes files."""
        return self.kind in STORES

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt failed, and another one follows."""
        return self.state == self.State.ACTIVE and self.failures > 0

    @property
    def condition(self) -> str:
        """Its state in one word: active, failing, paused or disabled."""
        return "failing" if self.is_failing else self.state

    @property
    def has_two_secrets(self) -> bool:
        """Whether the secret before this one still signs."""
        return self.previous_until is not None and self.previous_until > timezone.now()

    @property
    def place(self) -> str:
        """Where it is, without anything secret."""
        options: dict[str, Any] = self.options
        if "url" in options:
            return str(options["url"]).partition("?")[0]
        if self.kind == Kind.SYSLOG:
            return f"{options['host']}:{options['port']}"
        parts = [options.get("account", ""), options.get("bucket") or options.get("container"), options.get("prefix")]
        return "/".join(part for part in parts if part)


class Delivery(OwnedModel):
    """One attempt to send a batch, and what came of it, in an excerpt without secrets."""

    class Reason(models.TextChoices):
        """Why it was sent."""

        BATCH = "batch", "Batch"
        TEST = "test", "Test"
        RESEND = "resend", "Sent again"
        GAP = "gap", "Left out"  # events whose time had ended before they could be sent

    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="+", db_index=False)
    reason = models.CharField(max_length=6, choices=Reason.choices, default=Reason.BATCH)
    first = models.BigIntegerField()
    count = models.PositiveIntegerField()
    bytes = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    milliseconds = models.PositiveIntegerField()
    status = models.PositiveIntegerField(null=True)
    code = models.CharField(max_length=16, blank=True)  # why there is no answer
    sentence = models.CharField(max_length=300)
    answer = models.TextField(blank=True)
    has_arrived = models.BooleanField()

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "stream", "-id"], name="audit_streams_log")
        ]

    def __str__(self) -> str:
        return self.sentence

    @property
    def last(self) -> int:
        """The place of its last event."""
        return self.first + self.count - 1


class DeadLetter(OwnedModel):
    """An event that a target refused again and again, while it is there: set aside, so that others go on."""

    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="+", db_index=False)
    seq = models.BigIntegerField()
    event_id = models.UUIDField()
    status = models.PositiveIntegerField(null=True)
    sentence = models.CharField(max_length=300)
    created_at = models.DateTimeField(default=timezone.now)
    resent_at = models.DateTimeField(null=True)  # when it arrived after all

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "stream", "-id"], name="audit_streams_aside")
        ]

    def __str__(self) -> str:
        return f"{self.seq}: {self.sentence}"
