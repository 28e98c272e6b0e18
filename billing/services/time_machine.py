"""Lets time pass for an organization that is billed by the simulator: renewals, retries and ends come by themselves."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings

from billing.sandbox import clock
from billing.services.accounts import customer_of
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Invalid, NotFound
from tenancy.scope import scope

LEAPS = (1, 7, 40)  # days


def advance(*, organization_id: UUID, actor: Actor, days: int) -> datetime:
    """Let so many days pass for the organization's customer in the simulator; its new time there.

    To be called outside a scope. Raises NotFound where Stripe itself is asked, Invalid for a leap that is not in LEAPS,
    Conflict where nothing was ever bought.
    """
    if not settings.STRIPE_SANDBOX:
        raise NotFound("There is no time machine here.")
    if days not in LEAPS:
        raise Invalid("days", f"Choose {', '.join(map(str, LEAPS))} days.")
    customer = customer_of(organization_id)
    now = datetime.fromtimestamp(clock.advance(customer, timedelta(days=days)), UTC)
    with scope(organization_id):
        target = Target("billing_account", customer, customer)
        record(action=actions.BILLING_TIME_PASSED, actor=actor, target=target, metadata={"days": days})
    return now


def time_of(customer: str) -> datetime:
    """The customer's own time in the simulator."""
    return datetime.fromtimestamp(clock.now_of(customer), UTC)
