"""Holds usage events and their hourly roll-up."""

from typing import ClassVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.utils import timezone

from tenancy.scope import Owned

THIS_TRANSACTION = models.Func(output_field=models.BigIntegerField(), template="pg_current_xact_id()::text::bigint")


class UsageEvent(Owned):
    """One counted operation; the id is minted once for the operation, so the same event is never counted twice.

    The table has a partition for each month of its ids (services.partitions). The application only appends:
    a correction is an event too.
    """

    purge_function = "metering_purge_events"
    organization_id = models.UUIDField()
    project_id = models.UUIDField()
    key_id = models.UUIDField(null=True)
    meter = models.CharField(max_length=32)
    quantity = models.BigIntegerField()
    end_user = models.CharField(max_length=255, blank=True)
    occurred_at = models.DateTimeField(default=timezone.now)
    # The transaction that wrote it; the roll-up adds it once that has ended. Not above 0: added by then.
    written_by = models.BigIntegerField(db_default=THIS_TRANSACTION)

    class Meta(Owned.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization_id", "-id"], name="usage_newest"),
            BrinIndex(fields=["written_by"], name="usage_by_transaction", autosummarize=True, pages_per_range=32),
        ]

    def __str__(self) -> str:
        return f"{self.meter} {self.quantity}"


class UsageHour(Owned):
    """The sum of one meter over one UTC hour, by project and key."""

    organization_id = models.UUIDField()
    project_id = models.UUIDField()
    key_id = models.UUIDField(null=True)
    meter = models.CharField(max_length=32)
    hour = models.DateTimeField()
    quantity = models.BigIntegerField()
    events = models.BigIntegerField()

    class Meta(Owned.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["organization_id", "hour", "project_id", "meter", "key_id"],
                nulls_distinct=False,
                name="usage_hour_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.meter} {self.hour:%Y-%m-%d %H} {self.quantity}"


class UsageCorrection(Owned):
    """Why a counter-event stands beside another event; the id is the counter-event's, the quantity what it adds."""

    purge_function = "metering_purge_usagecorrection"
    organization_id = models.UUIDField()
    adjusts = models.UUIDField()  # the event that was wrong
    quantity = models.BigIntegerField()
    reason = models.CharField(max_length=500)
    actor = models.JSONField()  # {kind, id, label}
    corrected_at = models.DateTimeField(default=timezone.now)

    class Meta(Owned.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization_id", "adjusts"], name="usage_correction_of")
        ]

    def __str__(self) -> str:
        return f"{self.adjusts} {self.quantity:+}"


class UsagePeriod(Owned):
    """A period that is over, of an organization's one sequence; closed, it says for good what was used in it.

    The next begins where this one ends: PostgreSQL keeps gaps and overlaps out. Nobody writes here but the functions
    that end and close periods (services.periods). An hour that a boundary cuts counts in the later period. The
    watermark is PostgreSQL's snapshot: an event is in the totals if the transaction in its `written_by` is visible in
    it. The checksum is over the hourly sums.
    """

    purge_function = "metering_purge_usageperiod"
    organization_id = models.UUIDField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()  # exclusive
    follows = models.DateTimeField(null=True)  # the end of the period before: the same moment; null: it is the first
    # {meter: {"quantity": …, "events": …}}: sums of counters, the average or the highest sample of gauges
    totals = models.JSONField(null=True)
    watermark = models.TextField(blank=True)
    checksum = models.CharField(max_length=64, blank=True)
    closed_at = models.DateTimeField(null=True)  # null: late use still comes in

    class Meta(Owned.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization_id", "starts_at"], name="usage_period_once"),
            models.UniqueConstraint(fields=["organization_id", "ends_at"], name="usage_period_ends_once"),
            models.UniqueConstraint(
                fields=["organization_id", "follows"], nulls_distinct=False, name="usage_period_follows_once"
            ),
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("starts_at"))
                & (models.Q(follows=None) | models.Q(follows=models.F("starts_at"))),
                name="usage_period_begins_where_one_ends",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["ends_at"], condition=models.Q(closed_at=None), name="usage_period_to_close"),
        ]

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m-%d} to {self.ends_at:%Y-%m-%d}"


class UsageAdjustment(Owned):
    """What a later closing found to have changed in a closed period: the one way in which late use is told.

    With what was told before, the period's totals come to what it comes to now.
    """

    purge_function = "metering_purge_usageadjustment"
    organization_id = models.UUIDField()
    period = models.ForeignKey(UsagePeriod, on_delete=models.CASCADE, related_name="+")
    told_in = models.ForeignKey(UsagePeriod, on_delete=models.CASCADE, related_name="+")
    meter = models.CharField(max_length=32)
    quantity = models.BigIntegerField()
    events = models.BigIntegerField()

    class Meta(Owned.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["period", "told_in", "meter"], name="usage_adjustment_once")
        ]

    def __str__(self) -> str:
        return f"{self.meter} {self.quantity:+}"


class ReportedEvent(Owned):
    """What a data plane elsewhere has reported, under its own name; the id is the usage event's. Kept for 90 days."""

    organization_id = models.UUIDField()
    source = models.CharField(max_length=255)
    name = models.CharField(max_length=255)
    reported_at = models.DateTimeField(default=timezone.now)

    class Meta(Owned.Meta):
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["reported_at"], name="reported_event_oldest")]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization_id", "source", "name"], name="reported_event_once")
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.name}"


class RollUpPosition(models.Model):
    """Before which transaction everything written is in the sums: one row, which PostgreSQL's functions move."""

    id = models.SmallAutoField(primary_key=True)
    position = models.BigIntegerField()

    def __str__(self) -> str:
        return str(self.position)


class SpoolPosition(models.Model):
    """How far a spool segment has been shipped, in bytes; moved in the transaction that stores the events."""

    segment = models.CharField(max_length=255, primary_key=True)
    offset = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.segment} {self.offset}"


class SpoolMachine(models.Model):
    """A machine that spools, and up to when all that it has spooled is stored (by PostgreSQL's clock)."""

    id = models.UUIDField(primary_key=True)
    stored_until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.pk} {self.stored_until:%Y-%m-%d %H:%M:%S}"


class SpoolReject(models.Model):
    """A line of a spool segment that is no event: at most 4 KiB of it, set aside so that it holds nothing up."""

    segment = models.CharField(max_length=255)
    offset = models.BigIntegerField()
    line = models.BinaryField()
    rejected_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["segment", "offset"], name="spool_reject_once")
        ]

    def __str__(self) -> str:
        return f"{self.segment} {self.offset}"
