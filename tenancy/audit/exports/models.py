"""Holds exports, the stores of customers that they are put into, and schedules that make them."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from tenancy.scope import OwnedModel

UNDER_WAY = ["queued", "running", "sending"]
WRITTEN = ["sending", "ready"]


class Format(models.TextChoices):
    """How events are written."""

    JSONL = "jsonl", "JSON Lines"
    CSV = "csv", "CSV"
    PARQUET = "parquet", "Parquet"


class Compression(models.TextChoices):
    """What is around the whole file; Parquet compresses inside."""

    NONE = "none", "None"
    GZIP = "gzip", "gzip"
    ZSTD = "zstd", "Zstandard"


class Selection(OwnedModel):
    """What of the trail is wanted, and as what."""

    format = models.CharField(max_length=7, choices=Format.choices, default=Format.JSONL)
    compression = models.CharField(max_length=4, choices=Compression.choices, default=Compression.NONE)
    action = models.CharField(max_length=64, blank=True)
    actor = models.CharField(max_length=255, blank=True)
    on = models.CharField(max_length=255, blank=True)  # what was acted upon
    has_people = models.BooleanField(default=True)  # whether names and addresses come along, in a file of their own

    class Meta(OwnedModel.Meta):
        abstract = True

    @property
    def filters(self) -> dict[str, str]:
        """The filters as search takes them, without those that are empty."""
        asked = {"action": self.action, "actor": self.actor, "target": self.on}
        return {name: value for name, value in asked.items() if value}


class Target(OwnedModel):
    """A store of the customer's."""

    name = models.CharField(max_length=64)
    kind = models.CharField(max_length=8)  # of capsule_cloud.lib.storage.KINDS
    options = models.JSONField()
    sealed_secrets = models.BinaryField()  # a JSON object, encrypted
    worked_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    failure = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name

    @property
    def place(self) -> str:
        """Where it is, without anything secret."""
        options: dict[str, Any] = self.options
        if self.kind == "https":
            return str(options["url"]).partition("?")[0]
        parts = [options.get("account", ""), options.get("bucket") or options.get("container"), options.get("prefix")]
        return "/".join(part for part in parts if part)

    @property
    def is_failing(self) -> bool:
        """Whether the last thing that was tried failed."""
        return self.failed_at is not None and (self.worked_at is None or self.worked_at < self.failed_at)


class Schedule(Selection):
    """Puts what is new into a store, again and again: each event exactly once, because ranges follow each other."""

    class Every(models.TextChoices):
        """How long a range is, in UTC."""

        DAY = "day", "Daily"
        WEEK = "week", "Weekly"
        MONTH = "month", "Monthly"

    name = models.CharField(max_length=64)
    every = models.CharField(max_length=5, choices=Every.choices, default=Every.DAY)
    target = models.ForeignKey(Target, on_delete=models.PROTECT, related_name="+")
    range_start = models.DateTimeField()  # of the range that comes next
    next_seq = models.BigIntegerField(default=0)  # where that range begins in the trail
    proved_size = models.BigIntegerField(default=0)  # the checkpoint of the range before
    is_paused = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name


class Export(Selection):
    """A part of the trail on its way into files, or in them."""

    class State(models.TextChoices):
        """Where it stands."""

        QUEUED = "queued", "Queued"
        RUNNING = "running", "Being written"
        SENDING = "sending", "On its way to the store"  # and ready to be downloaded
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"
        EXPIRED = "expired", "Expired"

    since = models.DateTimeField(null=True)
    until = models.DateTimeField(null=True)
    state = models.CharField(max_length=9, choices=State.choices, default=State.QUEUED)
    failure = models.CharField(max_length=300, blank=True)
    folder = models.CharField(max_length=64)  # in the installation's store; nobody can guess it
    # The range [first, last) of the trail, and how far it is written
    first = models.BigIntegerField(null=True)
    last = models.BigIntegerField(null=True)
    position = models.BigIntegerField(default=0)
    rows = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    settled = models.JSONField(default=dict)  # where another worker can go on: {position, rows, bytes}
    checkpoint_size = models.BigIntegerField(null=True)
    proved_size = models.BigIntegerField(null=True)  # of an earlier checkpoint
    files = models.JSONField(default=list)  # [{name, holds, bytes, sha256}]
    # Who is at work
    attempts = models.PositiveIntegerField(default=0)
    turn = models.UUIDField(null=True)
    leased_until = models.DateTimeField(null=True)
    due_at = models.DateTimeField(default=timezone.now)
    # Where it goes
    target = models.ForeignKey(Target, null=True, on_delete=models.SET_NULL, related_name="+")
    schedule = models.ForeignKey(Schedule, null=True, on_delete=models.SET_NULL, related_name="+")
    label = models.CharField(max_length=40)  # what its files are called, without an ending
    sent_at = models.DateTimeField(null=True)
    send_failure = models.CharField(max_length=300, blank=True)
    created_by = models.JSONField()  # {kind, id, label}
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    ready_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)

    class Meta(Selection.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "-id"], name="audit_exports_newest"),
            models.Index(
                fields=["due_at"], name="audit_exports_due", condition=Q(state__in=["queued", "running", "sending"])
            ),
            models.Index(
                fields=["expires_at"], name="audit_exports_ending", condition=Q(state__in=["sending", "ready"])
            ),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["schedule", "since"], name="audit_exports_each_range_once")
        ]

    def __str__(self) -> str:
        return self.label

    @property
    def is_under_way(self) -> bool:
        """Whether it will change by itself."""
        return self.state in UNDER_WAY

    @property
    def is_written(self) -> bool:
        """Whether its files can be downloaded."""
        return self.state in WRITTEN

    @property
    def percent(self) -> int:
        """How much of the range is written, 0 to 100."""
        if self.is_written:
            return 100
        if self.first is None or self.last is None or self.last <= self.first:
            return 0
        return min(99, max(0, self.position - self.first) * 100 // (self.last - self.first))
