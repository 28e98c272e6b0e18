"""Holds conversations on their way to becoming capsules: sessions, their raw turns, and the skills noticed in them."""

from django.db import models
from django.utils import timezone

from tenancy.models import Organization, Project
from tenancy.scope import OwnedModel


class Session(OwnedModel):
    """A conversation of one end user in one project: open until it is sealed into a capsule.

    Everything about it is in the database, so any worker can take the next turn. Its row is the lock under which turns
    get their numbers. An ingest changes no column that an index or an index's condition names: such updates stay on
    their page (HOT) and write no index.
    """

    class Extraction(models.TextChoices):
        """Who found the capsule's facts."""

        HOST_LLM = "host_llm", "The caller's language model"
        RULE_BASED = "rule_based", "The engine's rules"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    external_id = models.CharField(max_length=255)  # what the customer calls it: `session_id` in the API
    user_id = models.CharField(max_length=255)  # the customer's end user who opened it; nobody else may write to it
    agent_id = models.CharField(max_length=255, blank=True)
    origin_platform = models.CharField(max_length=255, default="unknown")
    started_at = models.DateTimeField(default=timezone.now)
    last_turn_at = models.DateTimeField(null=True, blank=True)
    turn_count = models.PositiveIntegerField(default=0)  # questions and answers both count, as the engine counts
    pending_trigger_count = models.PositiveIntegerField(default=0)
    # When the idle sweep looks at it next, which is never after it becomes idle. The sweep moves it, not the ingest.
    look_at = models.DateTimeField(default=timezone.now)
    sealed_at = models.DateTimeField(null=True, blank=True)
    capsule_id = models.CharField(max_length=255, blank=True)
    extraction = models.CharField(max_length=16, choices=Extraction.choices, blank=True)
    turns_purged_at = models.DateTimeField(null=True, blank=True)

    class Meta(OwnedModel.Meta):
        constraints = [models.UniqueConstraint(fields=["project", "external_id"], name="session_id_once")]
        indexes = [
            models.Index(fields=["project", "-id"], name="session_newest"),
            models.Index(fields=["project", "user_id", "-id"], name="session_by_user"),
            models.Index(fields=["project", "capsule_id"], name="session_by_capsule"),
            models.Index(fields=["look_at"], condition=models.Q(sealed_at=None), name="session_to_look_at"),
            models.Index(
                fields=["project", "sealed_at"],
                condition=models.Q(sealed_at__isnull=False, turns_purged_at=None),
                name="session_with_turns",
            ),
            models.Index(
                fields=["project"],
                condition=models.Q(sealed_at=None, pending_trigger_count__gt=0),
                name="session_with_triggers",
            ),
        ]

    def __str__(self) -> str:
        return self.external_id


class Turn(OwnedModel):
    """One thing said in a session; numbers run 1, 2, 3 … without a gap. Kept as long as the project keeps raw turns."""

    class Role(models.TextChoices):
        """Who said it."""

        USER = "user", "User"
        ASSISTANT = "assistant", "Assistant"

    id = None  # type: ignore[assignment]  # the pair below is the key: one index fewer on the hottest table
    pk = models.CompositePrimaryKey("session_id", "number")
    # The session vouches for it. A constraint would lock the organization's one row in every ingest.
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="turns", db_index=False)
    number = models.PositiveIntegerField()
    role = models.CharField(max_length=16, choices=Role.choices)
    content = models.TextField()
    said_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.session_id}/{self.number}"


class SkillTrigger(OwnedModel):
    """Something in a session that looks like a reusable skill, until its customer says what to do with it."""

    class Resolution(models.TextChoices):
        """What the customer decided."""

        EXTRACT_SKILL = "extract_skill", "Extract a skill"
        MERGE_MEMORY = "merge_memory", "Merge into the memory"
        EXTRACT_HYBRID = "extract_hybrid", "Extract a skill and keep the memory"
        IGNORE = "ignore", "Ignore"
        NEVER = "never", "Never notice this kind again in this session"

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="triggers")
    rule = models.CharField(max_length=32)
    suggested_name = models.CharField(max_length=255)
    confidence = models.FloatField()
    preview = models.TextField()
    turn_number = models.PositiveIntegerField()  # the answer that it was noticed in
    created_at = models.DateTimeField(default=timezone.now)
    resolution = models.CharField(max_length=16, choices=Resolution.choices, blank=True)  # empty: pending
    resolved_at = models.DateTimeField(null=True, blank=True)
    skill = models.JSONField(null=True, blank=True)  # the engine's skill payload, when one was extracted

    def __str__(self) -> str:
        return self.suggested_name

    @property
    def event_id(self) -> str:
        """Its name in the API."""
        return f"evt_{self.id.hex}"
