"""Corrects usage by counter-events: what was counted stays as it is, and says why it is not the last word."""

from dataclasses import asdict
from uuid import UUID

from django.db.models import Sum

from billing.metering import ids
from billing.metering.models import UsageCorrection, UsageEvent, UsagePeriod
from billing.metering.services.periods import LATE
from billing.metering.services.recording import LARGEST_QUANTITY, BadUse
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Invalid, NotFound
from tenancy.services import organizations

LONGEST_REASON = 500


class EventNotFound(NotFound):
    """The organization in scope has no such usage event."""


def correct(*, actor: Actor, event_id: UUID, quantity: int, reason: str) -> UsageEvent | None:
    """Make an event of the organization in scope count for `quantity`; the counter-event, None if it does already.

    The counter-event occurred when the event did, so it belongs to the same hour; if its period is closed, it is told
    as an adjustment. A later correction of the same event counts from what it came to. Raises EventNotFound, BadUse,
    and Invalid for a reason that is empty or longer than LONGEST_REASON, or an event that no closing looks at any more.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= LONGEST_REASON or "\0" in reason:
        raise Invalid("reason", f"Say why, in at most {LONGEST_REASON} characters.")
    if not 0 <= quantity < LARGEST_QUANTITY:
        raise BadUse(f"{quantity} cannot be counted.")
    organizations.locked()  # two corrections of one event follow each other
    event = UsageEvent.objects.filter(pk=event_id).first()
    if event is None or UsageCorrection.objects.filter(pk=event_id).exists():
        raise EventNotFound("There is no such usage event; a correction is corrected through its event.")
    newest = UsagePeriod.objects.order_by("-ends_at").first()
    if newest is not None and event.occurred_at < newest.ends_at - LATE:
        raise Invalid("event_id", f"It is more than {LATE.days} days old, and billed for good: give credits instead.")
    corrections = UsageCorrection.objects.filter(adjusts=event_id)
    change = quantity - event.quantity - (corrections.aggregate(total=Sum("quantity"))["total"] or 0)
    if not change:
        return None
    counter = UsageEvent.objects.create(
        id=ids.mint(),
        project_id=event.project_id,
        key_id=event.key_id,
        meter=event.meter,
        quantity=change,
        end_user=event.end_user,
        occurred_at=event.occurred_at,
    )
    UsageCorrection.objects.create(id=counter.pk, adjusts=event_id, quantity=change, reason=reason, actor=asdict(actor))
    record(
        action=actions.USAGE_CORRECTED,
        actor=actor,
        target=Target("usage_event", str(event_id), event.meter),
        metadata={"change": change, "counter_event": str(counter.pk)},
        changes=actions.USAGE_CORRECTED.changed({"quantity": quantity - change}, {"quantity": quantity}),
        reason=reason,
    )
    return counter
