"""Holds capsules as customers stored them, and beside them what search knows."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.utils import timezone

from tenancy.models import Project
from tenancy.scope import OwnedModel

NEWEST_FIRST = models.F("sealed_at").desc(nulls_last=True)
NEWEST_ENTRY_FIRST = models.F("capsule").desc(nulls_last=True)


class Capsule(OwnedModel):
    """A sealed memory of one end user in one project.

    `document` is the engine's JSON; the columns repeat what lists need.
    """

    class Type(models.TextChoices):
        """The engine's kinds of capsule."""

        MEMORY = "memory", "Memory"
        SKILL = "skill", "Skill"
        HYBRID = "hybrid", "Memory and skills"
        CONTEXT = "context", "Context"

    class Status(models.TextChoices):
        """Where a capsule is in its life, in the engine's words."""

        DRAFT = "draft", "Draft"
        SEALED = "sealed", "Sealed"
        IMPORTED = "imported", "Imported"
        ARCHIVED = "archived", "Archived"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    capsule_id = models.CharField(max_length=255)
    user_id = models.CharField(max_length=255)  # the customer's end user: free text, never crosses the project
    session_id = models.CharField(max_length=255)
    agent_id = models.CharField(max_length=255, blank=True)
    origin_platform = models.CharField(max_length=255)
    capsule_type = models.CharField(max_length=16, choices=Type.choices)
    status = models.CharField(max_length=16, choices=Status.choices)
    title = models.TextField(blank=True)
    tags = ArrayField(models.TextField(), default=list, blank=True)
    turn_count = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    sealed_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)  # from then on nobody sees it
    is_pinned = models.BooleanField(default=False)  # a pinned capsule has no end
    size = models.PositiveIntegerField()  # of the document, in bytes
    document = models.TextField()  # JSON as text: jsonb would refuse an escaped NUL and reorder keys

    class Meta(OwnedModel.Meta):
        constraints = [
            models.UniqueConstraint(fields=["organization", "project", "capsule_id"], name="capsule_id_once"),
        ]
        indexes = [
            models.Index("project", NEWEST_FIRST, "capsule_id", name="capsule_newest"),
            models.Index("project", "user_id", NEWEST_FIRST, "capsule_id", name="capsule_by_user"),
            models.Index(fields=["expires_at"], condition=models.Q(expires_at__isnull=False), name="capsule_to_expire"),
        ]

    def __str__(self) -> str:
        return self.capsule_id


class SearchEntry(OwnedModel):
    """What search knows of one capsule: its words, its meaning, and what filters need. Narrow, to rank many quickly.

    `lexemes` holds each stem once; its weight label says how often it occurs (analysis.LABELS).
    `keys` are 64-bit hashes of the project and of the end user in it; as the first column of the index they keep one
    project's search away from everybody else's postings.
    """

    id = None  # type: ignore[assignment]  # the capsule is the key
    capsule = models.OneToOneField(  # PostgreSQL holds the constraint, and cascades
        Capsule, on_delete=models.DO_NOTHING, primary_key=True, related_name="+", db_constraint=False
    )
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    user_id = models.CharField(max_length=255)
    capsule_type = models.CharField(max_length=16)
    tags = ArrayField(models.TextField(), default=list)
    expires_at = models.DateTimeField(null=True)
    keys = ArrayField(models.BigIntegerField())
    lexemes = SearchVectorField()
    length = models.PositiveIntegerField()  # words, stop words not counted
    embedding = models.BinaryField(null=True)  # float16, little endian, length 1
    embedding_model = models.CharField(max_length=64, blank=True)  # entries.RECIPE: the model/the analysis's edition
    lot = models.FloatField()  # 0 to 1 by chance: `lot < x` is a fair sample

    class Meta(OwnedModel.Meta):
        indexes = [
            GinIndex(fields=["keys", "lexemes"], name="search_words", fastupdate=False),
            models.Index(
                fields=["project", "lot"],
                include=["organization", "user_id", "capsule_type", "expires_at"],  # counts read the index alone
                name="search_sample",
            ),
            # NULLS LAST, which the primary key's order is not: the planner would walk it through everybody's capsules
            models.Index("project", "user_id", NEWEST_ENTRY_FIRST, name="search_newest_of_user"),
            models.Index("project", NEWEST_ENTRY_FIRST, name="search_newest"),
            models.Index(fields=["embedding_model"], name="search_recipe"),
        ]

    def __str__(self) -> str:
        return str(self.capsule_id)


class SearchStatistics(OwnedModel):
    """How often words and end users occur in a project of more than a few hundred capsules, from a fair sample."""

    id = None  # type: ignore[assignment]  # the project is the key
    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="+")
    capsules = models.PositiveIntegerField()
    sample = models.PositiveIntegerField()
    average_length = models.FloatField()
    words = models.JSONField()  # {stem: share of the capsules}, of those seen more than twice
    people = models.JSONField()  # {user_id: share of the capsules}
    computed_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.project_id)
