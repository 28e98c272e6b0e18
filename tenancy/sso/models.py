"""Holds what single sign-on rests on: the domains that an organization has proved to be its own."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from tenancy.scope import OwnedModel


class VerifiedDomain(OwnedModel):
    """A domain that an organization says is its own, and what DNS says about that.

    Several may wait for the same domain; `verified` and `lost` hold it, which only one organization can.
    """

    class State(models.TextChoices):
        """How far the proof is."""

        PENDING = "pending", "Waiting for the record"
        VERIFIED = "verified", "Verified"
        LOST = "lost", "Record lost"

    domain = models.CharField(max_length=253)  # as DNS has it: ASCII, small letters
    token = models.CharField(max_length=64)
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    created_at = models.DateTimeField(default=timezone.now)
    verified_at = models.DateTimeField(null=True)
    missing_since = models.DateTimeField(null=True)  # the first look of those in a row that did not find the record
    lost_at = models.DateTimeField(null=True)
    last_checked_at = models.DateTimeField(null=True)
    last_code = models.CharField(max_length=16, blank=True)
    last_result = models.CharField(max_length=600, blank=True)
    last_seen = models.JSONField(default=list)  # the TXT records that stand where the right one should
    turn = models.UUIDField(null=True)  # of the look that counts: an older one changes nothing any more
    turn_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)  # the next look; none where we have stopped looking

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at"], name="sso_domain_due", condition=Q(due_at__isnull=False))
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "domain"], name="sso_domain_of_organization"),
            models.UniqueConstraint(
                fields=["domain"], name="sso_domain_held_once", condition=Q(state__in=["verified", "lost"])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.domain} {self.state}"

    @property
    def is_held(self) -> bool:
        """Whether it is this organization's: also while its record is missing, so that nobody is locked out."""
        return self.state != self.State.PENDING
