"""Holds which groups give which roles, and in which groups people are, as their sources last said."""

from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from tenancy.models import Project, User
from tenancy.roles import Role
from tenancy.scope import OwnedModel

LONGEST_GROUP = 255


class GroupRole(OwnedModel):
    """Whoever is in the group has the role: in the organization, or in one project of it."""

    group = models.CharField(max_length=LONGEST_GROUP)  # as the source says it; compared exactly
    role = models.CharField(max_length=16, choices=Role.choices)
    project = models.ForeignKey(Project, null=True, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["organization", "group", "project"], name="group_role_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"{self.group} {self.role}"


class PersonGroups(OwnedModel):
    """In which groups a person is, as an identity provider or a directory last said.

    Whoever has such a row is managed: once any mapping exists, their groups decide which role they have.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    source_id = models.UUIDField()  # the identity provider's or the directory's
    source_name = models.CharField(max_length=120)
    groups: Any = ArrayField(models.CharField(max_length=LONGEST_GROUP))
    default_role = models.CharField(max_length=16, choices=Role.choices)  # of the source, for whom no group matches
    note = models.CharField(max_length=200, blank=True)  # what of it is not kept, and why
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "source_id"], name="groups_of_source")
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "user", "source_id"], name="groups_of_person_once")
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.source_name}"
