"""Holds what proves the trail: leaves, subtrees and checkpoints of each organization, and one log over all of them."""

from typing import ClassVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.utils import timezone

from tenancy.scope import Owned


class Leaf(Owned):
    """An event's place in its organization's tree. It stays when the event's month is dropped."""

    purge_function = "audit_sealing_purge_leaves"
    id = None  # type: ignore[assignment]  # its place is its name
    pk = models.CompositePrimaryKey("organization_id", "seq")
    organization_id = models.UUIDField()
    seq = models.BigIntegerField()  # from 0, without a gap
    event_id = models.UUIDField()
    hash = models.BinaryField()  # RFC 6962: SHA-256 of a zero byte and the event's body

    class Meta(Owned.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization_id", "event_id"], name="audit_sealed_once")
        ]
        indexes: ClassVar[list[models.Index]] = [
            BrinIndex(fields=["event_id"], name="audit_leaves_by_time", autosummarize=True, pages_per_range=32)
        ]

    def __str__(self) -> str:
        return f"{self.seq}"


class Node(Owned):
    """The hash of a whole subtree of 2**8, 2**16 or 2**24 leaves, so that no proof reads more than a few hundred."""

    purge_function = "audit_sealing_purge_nodes"
    id = None  # type: ignore[assignment]  # likewise
    pk = models.CompositePrimaryKey("organization_id", "level", "place")
    organization_id = models.UUIDField()
    level = models.SmallIntegerField()
    place = models.BigIntegerField()
    hash = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.level}/{self.place}"


class TreeHead(Owned):
    """What an organization's tree needs in order to grow."""

    purge_function = "audit_sealing_purge_heads"
    id = None  # type: ignore[assignment]  # likewise
    organization_id = models.UUIDField(primary_key=True)
    size = models.BigIntegerField()
    frontier = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.size}"


class Checkpoint(Owned):
    """What was signed of an organization's tree at one size; a leaf of the log of all."""

    purge_function = "audit_sealing_purge_checkpoints"
    id = None  # type: ignore[assignment]  # likewise
    pk = models.CompositePrimaryKey("organization_id", "size")
    organization_id = models.UUIDField()
    size = models.BigIntegerField()
    root = models.BinaryField()
    note = models.TextField()
    entry = models.BigIntegerField()  # its place in the log of all
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.size}"


class Publication(Owned):
    """A checkpoint that left the house: what a customer was sent, we cannot take back."""

    organization_id = models.UUIDField()
    size = models.BigIntegerField()
    via = models.CharField(max_length=16)  # email, webhook or storage
    at = models.DateTimeField(default=timezone.now)

    class Meta(Owned.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization_id", "via", "size"], name="audit_published_once")
        ]

    def __str__(self) -> str:
        return f"{self.size} {self.via}"


class SigningKey(models.Model):
    """An Ed25519 key that signs checkpoints, or did. Its public half is published for ever."""

    class End(models.TextChoices):
        """Why it signs no more."""

        REPLACED = "replaced", "Replaced"
        LOST = "lost", "Lost"
        STOLEN = "stolen", "Stolen"

    public = models.BinaryField(unique=True)
    sealed_private = models.BinaryField(null=True)  # destroyed once it has ended
    begins_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField(null=True)
    end = models.CharField(max_length=8, choices=End.choices, blank=True)
    log_size = models.BigIntegerField(null=True)  # of the log of all, when it was stolen: it is trusted up to there

    def __str__(self) -> str:
        return bytes(self.public).hex()[:8]


class Log(models.Model):
    """One row: how far the sealer has come, and the log of all organizations' checkpoints."""

    origin = models.CharField(max_length=255, blank=True)  # its name, chosen once: whatever we are called later
    cursor_xid = models.BigIntegerField(default=0)  # the last sealed event, in the order of transactions
    cursor_id = models.UUIDField()
    is_restored = models.BooleanField(default=False)  # transaction numbers began anew: look twice
    size = models.BigIntegerField(default=0)
    frontier = models.BinaryField(default=b"")
    note = models.TextField(blank=True)
    sealed_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.origin


class LogEntry(models.Model):
    """The hash of one checkpoint's text, in the log of all."""

    place = models.BigIntegerField(primary_key=True)
    hash = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.place}"


class LogNode(models.Model):
    """A whole subtree of the log of all, as Node."""

    pk = models.CompositePrimaryKey("level", "place")
    level = models.SmallIntegerField()
    place = models.BigIntegerField()
    hash = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.level}/{self.place}"
