"""Holds caps, what was used against them, writes that wait for a cap to lift, and notices."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.utils import timezone

from billing.metering.meters import Meter
from billing.plans import Allowance
from tenancy.scope import OwnedModel

ALLOWANCES = [(one.value, one.value) for one in Allowance]


class Level(models.TextChoices):
    """Whose use a cap holds."""

    ORGANIZATION = "organization", "Organization"
    PROJECT = "project", "Project"
    KEY = "key", "API key"


class Span(models.TextChoices):
    """How long a cap counts before it begins again."""

    PERIOD = "period", "Billing period"
    DAY = "day", "Day (UTC)"


SAMPLED = (
    "sampled"  # the span of a counter that nobody takes from: what there is, or what a plan includes, as last seen
)


class Reaction(models.TextChoices):
    """What happens at a cap. Recalls and other reads go on whatever it is."""

    WARN = "warn", "Warn and go on"
    THROTTLE = "throttle", "Slow writes down"
    STOP = "stop", "Refuse writes"
    PARK = "park", "Keep writes until the cap lifts"


class Cap(OwnedModel):
    """A limit that the customer chose, at most the plan's."""

    allowance = models.CharField(max_length=16, choices=ALLOWANCES)
    level = models.CharField(max_length=16, choices=Level.choices)
    subject_id = models.UUIDField()  # of the organization, the project or the key
    span = models.CharField(max_length=8, choices=Span.choices, default=Span.PERIOD)
    amount = models.BigIntegerField()
    reaction = models.CharField(max_length=8, choices=Reaction.choices, default=Reaction.STOP)
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "allowance", "subject_id", "span"], name="cap_once"),
            models.CheckConstraint(condition=models.Q(amount__gte=0), name="cap_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.allowance} {self.amount} a {self.span}"


class Counter(OwnedModel):
    """What a subject has used of an allowance since `starts_at`, or may still use without asking again.

    A cache, made anew from usage events; but never lower than what was used, so that a hard cap holds exactly.
    """

    allowance = models.CharField(max_length=16, choices=ALLOWANCES)
    level = models.CharField(max_length=16, choices=Level.choices)
    subject_id = models.UUIDField()
    span = models.CharField(max_length=8, choices=Span.choices)
    starts_at = models.DateTimeField()
    used = models.BigIntegerField()
    included = models.BigIntegerField(null=True)  # of a sample: what the plan has of it
    granted = models.BigIntegerField(default=0)  # ever, whatever came back
    marked = models.BigIntegerField(default=0)  # `granted` at `marked_at`
    marked_at = models.DateTimeField(default=timezone.now)
    settled = models.BigIntegerField(default=0)  # `granted` when `used` was last exactly the events' sum

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["organization", "allowance", "subject_id", "span", "starts_at"], name="counter_once"
            )
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["starts_at"], name="counter_by_start")]

    def __str__(self) -> str:
        return f"{self.allowance} {self.used} since {self.starts_at:%Y-%m-%d %H:%M}"


class ParkedWrite(OwnedModel):
    """A write that was accepted at a cap: applied once, in order within its lane, when the cap lifts.

    The lane is the project; for what waits because its end user is one too many, that end user of the project.
    """

    class Kind(models.TextChoices):
        """Which write it is."""

        INGEST = "ingest", "Turns"
        SEAL = "seal", "Seal"
        IMPORT = "import", "Import"
        OPEN = "open", "New session"
        MERGE = "merge", "Merge"
        FORK = "fork", "Copy"
        SKILL = "skill", "Skill"
        PIN = "pin", "Pin"
        TAG = "tag", "Tags"
        EXPIRE = "expire", "End date"

    class State(models.TextChoices):
        """Where it stands."""

        PARKED = "parked", "Waiting"
        APPLIED = "applied", "Applied"
        FAILED = "failed", "Could not be applied"

    number = models.BigIntegerField()  # the order, from a sequence: clocks differ
    project_id = models.UUIDField()
    key_id = models.UUIDField(null=True)
    session_id = models.CharField(max_length=255, blank=True)  # what is about capsules has none
    kind = models.CharField(max_length=16, choices=Kind.choices)
    meter = models.CharField(max_length=32, choices=Meter.choices)
    quantity = models.BigIntegerField()
    end_user = models.CharField(max_length=255, blank=True)
    is_of_user = models.BooleanField(default=False, db_default=False)  # its lane is its end user's
    actor = models.JSONField()
    sealed_body = models.BinaryField()  # JSON, encrypted; emptied once it is applied
    state = models.CharField(max_length=8, choices=State.choices, default=State.PARKED)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(default=timezone.now)
    error = models.CharField(max_length=500, blank=True)
    outcome = models.JSONField(default=dict)
    parked_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["organization", "project_id", "number"],
                name="parked_in_order",
                condition=models.Q(state="parked"),
            ),
            models.Index(
                fields=["organization", "project_id", "end_user", "number"],
                name="parked_of_user",
                condition=models.Q(state="parked", is_of_user=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.state}"


class ParkedTotal(OwnedModel):
    """How many writes an organization has kept that were not applied, and their bytes; triggers keep it true."""

    writes = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization"], name="parked_total_once")
        ]

    def __str__(self) -> str:
        return f"{self.writes} writes, {self.bytes} bytes"


class ActiveUser(OwnedModel):
    """An end user who may write in a billing period: one of those that a limit on end users counts.

    The id is a hash of organization, project, period and name, so that each is there once and no name is kept. One
    whose first write has failed goes again, unless somebody has relied on it (`is_sure`).
    """

    starts_at = models.DateTimeField()  # of the billing period
    is_sure = models.BooleanField(default=False)

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            BrinIndex(fields=["starts_at"], name="active_user_oldest", autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"{self.pk} since {self.starts_at:%Y-%m-%d}"


class Watch(OwnedModel):
    """At which percentages of a cap the customer wants to be told; without a row: 50, 80 and 100."""

    allowance = models.CharField(max_length=16, choices=ALLOWANCES)
    percents = ArrayField(models.BigIntegerField())

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "allowance"], name="watch_once")
        ]

    def __str__(self) -> str:
        return f"{self.allowance} {self.percents}"


class Notice(OwnedModel):
    """Something said to the customer, once: a threshold crossed, or use far above what is usual."""

    class Kind(models.TextChoices):
        """What it says."""

        THRESHOLD = "threshold", "A part of a cap is used"
        ANOMALY = "anomaly", "Far more than usual"

    kind = models.CharField(max_length=16, choices=Kind.choices)
    what = models.CharField(max_length=32)  # the allowance, or the meter
    subject_id = models.UUIDField()
    span = models.CharField(max_length=8, choices=Span.choices)
    starts_at = models.DateTimeField()  # of the period, or of the unusual hours
    limit = models.BigIntegerField()  # of the cap, or what is usual in an hour
    percent = models.PositiveIntegerField()
    used = models.BigIntegerField()
    sentence = models.CharField(max_length=500)
    said_at = models.DateTimeField(default=timezone.now)
    dismissed_at = models.DateTimeField(null=True)
    lifted_at = models.DateTimeField(null=True)  # of a reached cap: when it was said that it holds nothing back

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["organization", "what", "subject_id", "span"],
                name="notice_reached",
                condition=models.Q(kind="threshold", percent__gte=100, lifted_at__isnull=True),
            )
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            # another limit is another threshold: a changed cap is watched again
            models.UniqueConstraint(
                fields=["organization", "kind", "what", "subject_id", "span", "starts_at", "percent", "limit"],
                name="notice_once",
            )
        ]

    def __str__(self) -> str:
        return self.sentence
