"""Counts a use: a write in its own transaction, a read in a spool that a crash cannot empty."""

import time
from dataclasses import dataclass, field
from uuid import UUID

import orjson

from billing.metering import ids
from billing.metering import spool as files
from billing.metering.meters import GAUGES, Meter
from billing.metering.models import UsageEvent
from tenancy.scope import OfFirst, SqlCall

LARGEST_QUANTITY = 2**53


class BadUse(ValueError):
    """A quantity below zero or past LARGEST_QUANTITY, or of a gauge, which is sampled and never counted."""


@dataclass(slots=True)  # made for every call: frozen would take three times as long
class Use:
    """What is counted: `quantity` of a meter, by a key of a project, for one end user of the customer.

    Whoever makes it again for the same operation passes the same `event_id`, and it counts once.
    """

    organization_id: UUID
    project_id: UUID
    key_id: UUID | None
    meter: Meter
    quantity: int = 1
    end_user: str = ""
    event_id: UUID = field(default_factory=ids.mint)

    def check(self) -> None:
        """Raises BadUse or ids.UnacceptableId: nothing else may become an event."""
        if not 0 <= self.quantity < LARGEST_QUANTITY or self.meter in GAUGES:
            raise BadUse(f"{self.quantity} of {self.meter.value} cannot be counted.")
        ids.check(self.event_id)


def record(use: Use) -> UUID:
    """Count a write, in the transaction of the write itself, inside its scope. Returns the event's id.

    Raises what `Use.check` does.
    """
    use.check()
    event = UsageEvent(
        id=use.event_id,
        organization_id=use.organization_id,
        project_id=use.project_id,
        key_id=use.key_id,
        meter=use.meter,
        quantity=use.quantity,
        end_user=use.end_user,
    )
    UsageEvent.objects.bulk_create([event], ignore_conflicts=True)
    return use.event_id


def usage_call(use: Use, *, end_user: OfFirst | None = None) -> SqlCall:
    """The same as a call for `scope.one_trip`; `end_user` when the trip's first call is what finds out who it is.

    Raises what `Use.check` does.
    """
    use.check()
    return SqlCall(
        "metering_record",
        (use.event_id, use.project_id, use.key_id, use.meter.value, use.quantity, end_user or use.end_user),
    )


def spool(use: Use) -> UUID:
    """Count a read without a query: append it to this process's spool file, which `ship` stores within seconds.

    Call it before the answer goes out: what was acknowledged is counted, even if the process dies right after.
    Raises SpoolFull, and what `Use.check` does.
    """
    use.check()
    files.append(
        orjson.dumps(
            {
                "id": use.event_id,
                "organization_id": use.organization_id,
                "project_id": use.project_id,
                "key_id": use.key_id,
                "meter": use.meter.value,
                "quantity": use.quantity,
                "end_user": use.end_user,
                "at": time.time(),
            }
        )
    )
    return use.event_id
