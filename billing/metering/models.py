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
