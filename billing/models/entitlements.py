"""Holds what staff granted beside the plan, and which version of its entitlements an organization has."""

from typing import ClassVar

from django.db import models
from django.utils import timezone

from tenancy.scope import OwnedModel


class EntitlementOverride(OwnedModel):
    """One value that holds instead of the plan's from `holds_from` (null: it waits for a second person) to its end.

    People are named as they were called then: they may leave, and what they decided stays explained.
    """

    key = models.CharField(max_length=64)
    value = models.JSONField(null=True)  # null: no limit, or no overage to be bought
    reason = models.CharField(max_length=500)
    author = models.CharField(max_length=254)
    author_id = models.CharField(max_length=64, db_default="")  # who may not approve it
    approver = models.CharField(max_length=254, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    holds_from = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=254, blank=True)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["organization", "key"],
                condition=models.Q(ended_at=None, holds_from__isnull=False),
                name="override_holds_once",
            ),
            models.CheckConstraint(condition=~models.Q(reason=""), name="override_has_a_reason"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["expires_at"], name="override_expiring", condition=models.Q(ended_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


class EntitlementVersion(OwnedModel):
    """How often an organization's entitlements have changed, and what they were made at last."""

    number = models.PositiveIntegerField(default=0)
    content = models.JSONField(default=dict)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization"], name="entitlement_version_once"),
        ]

    def __str__(self) -> str:
        return f"version {self.number}"
