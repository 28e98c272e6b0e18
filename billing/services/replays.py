"""Lets staff deal with Stripe's events again; the organizations concerned can read that, by whom and why."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from uuid import UUID

from billing.models import StripeEvent
from billing.selectors.inbox import customer_of, events, owners
from billing.services import inbox
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Invalid
from tenancy.scope import scope

AT_ONCE = 500
LONGEST_REASON = 500


def replay(*, actor: Actor, reason: str, event_ids: Collection[str]) -> int:
    """Put the events back into the inbox, whatever became of them; how many there were of these.

    All of one organization are one transaction with the row in its trail. Raises Invalid without a reason, or for more
    than AT_ONCE.
    """
    if not 0 < len(reason.strip()) <= LONGEST_REASON:
        raise Invalid("reason", f"Say why, in {LONGEST_REASON} characters at most.")
    if len(event_ids) > AT_ONCE:
        raise Invalid("events", f"Choose at most {AT_ONCE} events.")
    found: dict[str, str | None] = {one.event_id: customer_of(one) for one in events(ids=event_ids)}
    owned = owners({customer for customer in found.values() if customer})
    groups: dict[UUID | None, list[str]] = defaultdict(list)
    for event_id, customer in found.items():
        owner = owned.get(customer or "")
        groups[owner.organization_id if owner else None].append(event_id)
    for organization_id, ids in groups.items():
        if organization_id is None:
            _put_back(ids)
            continue
        with scope(organization_id):
            _put_back(ids)
            record(
                action=actions.STRIPE_EVENTS_REPLAYED,
                actor=actor,
                target=Target("stripe_events", ids[0], f"{len(ids)} events of the payment service"),
                metadata={"events": ids},
                reason=reason.strip(),
            )
    return len(found)


def replay_dead(*, actor: Actor, reason: str) -> list[str]:
    """Put back every event that is given up now; which they were. Raises Invalid without a reason."""
    waiting = list(
        events(status=StripeEvent.Status.DEAD).order_by("received_at", "id").values_list("event_id", flat=True)
    )
    for some in _batches(waiting):
        replay(actor=actor, reason=reason, event_ids=some)
    return waiting


def _batches(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]


def _put_back(event_ids: list[str]) -> None:
    for event_id in event_ids:
        inbox.replay(event_id)
