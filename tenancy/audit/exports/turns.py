"""Who is at work on an export: a turn with a lease, which each sign of life makes longer."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from tenancy.audit.exports.models import Export
from tenancy.audit.services import Target as AuditTarget
from tenancy.scope import scope, unscoped

LEASE = timedelta(seconds=60)


class NotMine(Exception):
    """The export was cancelled, or another worker has it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """An export that is this worker's for the length of a lease, which each sign of life makes longer."""

    export_id: UUID
    organization_id: UUID
    turn: UUID
    attempts: int
    is_sending: bool

    def scope(self) -> Any:
        """The scope of its organization."""
        return scope(self.organization_id)

    def say(self, **values: Any) -> None:
        """Write these values and go on having it. Raises NotMine. Within its scope."""
        mine = Export.objects.filter(pk=self.export_id, turn=self.turn, state__in=["running", "sending"])
        if not mine.update(leased_until=timezone.now() + LEASE, **values):
            raise NotMine

    def keep(self) -> None:
        """Go on having it. Raises NotMine."""
        with self.scope():
            self.say()


def claim() -> Turn | None:
    """The export that is due longest, if there is any."""
    with unscoped(reason="exports of every organization are written by one loop") as wide:
        found = wide.rows("audit_exports_claim", LEASE)
    return Turn(**found[0]) if found else None


def target_of(export: Export) -> AuditTarget:
    """An export as an audit target."""
    return AuditTarget("audit_export", str(export.pk), export.label)
