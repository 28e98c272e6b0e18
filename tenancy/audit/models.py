"""Holds audit events: texts without foreign keys, which outlive what they describe."""

from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, cast

import orjson
from django.db import models
from django.utils import timezone

from tenancy.scope import Owned

Json = dict[str, Any]


class AuditEvent(Owned):
    """One thing that happened: who did what to which target, from where. `body` is what is hashed and proved.

    Never changed nor deleted. PostgreSQL makes the row (`audit_append`): its id, its time, and a column `xid` for the
    sealer. The table has a partition for each month of its ids.
    """

    purge_function = "audit_purge"
    id = models.UUIDField(primary_key=True, editable=False)
    organization_id = models.UUIDField()
    action = models.TextField()
    actor_id = models.TextField()
    target_id = models.TextField()
    body = models.TextField()  # one JSON object on one line

    def __str__(self) -> str:
        return f"{self.action} {self.target.get('label', '')}"

    @cached_property
    def content(self) -> Json:
        """What the body says, as JSON; `people.reveal` puts values in place of its pseudonyms."""
        return cast("Json", orjson.loads(self.body))

    def reveal(self, body: str) -> None:
        """Say this from now on, a body without pseudonyms; what is proved stays as it is."""
        self.content = orjson.loads(body)

    @property
    def occurred_at(self) -> datetime:
        """When PostgreSQL wrote it, in UTC, to the microsecond."""
        return datetime.fromisoformat(self.content["recorded_at"])

    @property
    def actor(self) -> Json:
        """Who did it: {kind, id, label}."""
        return cast("Json", self.content["actor"])

    @property
    def target(self) -> Json:
        """What it was done to, as it was called then: {kind, id, label}."""
        return cast("Json", self.content["target"])

    @property
    def context(self) -> Json:
        """Where the request came from: {request_id, ip, user_agent, session_id}."""
        return cast("Json", self.content["context"])

    @property
    def reason(self) -> str:
        """Why it was done, where somebody had to say so."""
        return str(self.content.get("reason", ""))

    @property
    def changes(self) -> dict[str, list[Any]]:
        """What it changed: for each field the value before and the one after."""
        return cast("dict[str, list[Any]]", self.content.get("changes", {}))

    @property
    def metadata(self) -> Json:
        """What else there is to say."""
        return cast("Json", self.content["metadata"])


class AuditPerson(Owned):
    """The key that makes a person's pseudonyms in an organization's events. A user who is of our staff has one too.

    Deleting it, with what the pseudonyms stand for, erases the person. Two are possible: see `pseudonyms`.
    """

    organization_id = models.UUIDField()
    kind = models.TextField()
    subject_id = models.TextField()
    key = models.BinaryField()  # sealed
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(Owned.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization_id", "kind", "subject_id"], name="audit_person_of")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_id}"


class AuditIdentifier(Owned):
    """What a pseudonym stands for: a name, an address, a program of one person."""

    organization_id = models.UUIDField()
    person = models.ForeignKey(AuditPerson, on_delete=models.CASCADE, related_name="+")
    pseudonym = models.UUIDField()
    field = models.TextField()
    value = models.TextField()

    class Meta(Owned.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization_id", "pseudonym"], name="audit_identifier_of")
        ]

    def __str__(self) -> str:
        return f"{self.field} {self.pseudonym.hex}"


class AuditHold(Owned):
    """A legal hold: from when, why and until when nothing of an organization's trail may be deleted."""

    organization_id = models.UUIDField()
    reason = models.TextField()
    set_at = models.DateTimeField(default=timezone.now)
    released_at = models.DateTimeField(null=True)

    class Meta(Owned.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["organization_id"], condition=models.Q(released_at=None), name="audit_hold_once"
            )
        ]

    def __str__(self) -> str:
        return self.reason


class AuditDeletion(models.Model):
    """The transaction in which rows of the trail may be deleted: written and taken away by `audit_purge` and its like.

    A transaction's number never comes again, and no other transaction sees a row before its commit.
    """

    xid = models.TextField(primary_key=True)

    def __str__(self) -> str:
        return self.xid
