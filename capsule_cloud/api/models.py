"""Holds the answers already given to requests that carried an `Idempotency-Key`."""

from typing import ClassVar

from django.db import models
from django.utils import timezone

from tenancy.scope import OwnedModel


class IdempotencyKey(OwnedModel):
    """One answered request of one API key: written in the transaction of its effect, replayed for a day."""

    key_id = models.UUIDField()  # the API key that asked; another key's names are its own
    name = models.CharField(max_length=255)  # the header's value
    fingerprint = models.BinaryField(max_length=32)  # SHA-256 of method, path, query and body
    status = models.PositiveSmallIntegerField()
    content_type = models.CharField(max_length=100)
    sealed_answer = models.BinaryField()  # encrypted: an answer may hold a new API key, or what somebody said
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "key_id", "name"], name="idempotency_key_once")
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["created_at"], name="idempotency_key_oldest")]

    def __str__(self) -> str:
        return self.name
