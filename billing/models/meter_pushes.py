"""Holds what is to be told to Stripe's meters, and what has been."""

from typing import ClassVar

from django.db import models
from django.utils import timezone

from tenancy.scope import OwnedModel


class MeterPush(OwnedModel):
    """A part of one meter's hour: what grew from `start` to `end`.

    The identifier is made of exactly these words, so a push that is sent twice is one for Stripe.
    """

    meter = models.CharField(max_length=32)
    hour = models.DateTimeField()
    start = models.BigIntegerField()
    end = models.BigIntegerField()
    identifier = models.CharField(max_length=100, unique=True)
    attempts = models.PositiveIntegerField(default=0)
    first_sent_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "meter", "hour", "start"], name="meter_push_once"),
            models.CheckConstraint(condition=models.Q(end__gt=models.F("start")), name="meter_push_grows"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["created_at"], name="meter_push_waiting", condition=models.Q(delivered_at=None)),
        ]

    def __str__(self) -> str:
        return self.identifier
