"""Holds searches of the audit log that are kept under a name."""

from django.db import models
from django.utils import timezone

from tenancy.models import User
from tenancy.scope import OwnedModel


class SavedView(OwnedModel):
    """A search with a name: of one person, or shared with everybody who may read the log."""

    name = models.CharField(max_length=64)
    filters = models.JSONField()  # of tenancy.audit.search.services.FILTERS, as they were typed
    owner = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="+")  # null: an API key made it
    is_shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name
