"""Ends the subscription that nobody pays for, once dunning has come to its end; what it was for stays."""

from uuid import UUID

from billing.dunning_terms import DunningState
from billing.models import ENDED, Dunning, Source, Status, Subscription
from billing.services import entitlements
from billing.services.projection import target_of
from billing.stripe_client import StripeRefused, client
from billing.stripe_events import refresh
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, record
from tenancy.clock import here
from tenancy.scope import scope
from tenancy.services import organizations


def end_unpaid_subscription(*, organization_id: UUID) -> None:
    """End what the organization subscribes to if it still owes for it; nothing when it has paid, or nothing is left.

    Called outside any scope: Stripe is asked in between. Raises StripeUnavailable or StripeRefused; dunning asks again.
    """
    with scope(organization_id):
        organizations.locked()
        if not Dunning.objects.filter(state=DunningState.CANCELLED).exists():
            return
        live = Subscription.objects.exclude(status__in=ENDED).first()
        if live is None:
            return
        if live.source != Source.STRIPE:
            changes = actions.BILLING_SUBSCRIPTION_ENDED.change(live, {"status": Status.CANCELED})
            live.ended_at = here()
            live.save(update_fields=["status", "ended_at"])
            record(
                action=actions.BILLING_SUBSCRIPTION_ENDED,
                actor=SYSTEM,
                target=target_of(live),
                metadata={"plan": live.plan_key, "status": live.status},
                changes=changes,
            )
            entitlements.recompute(actor=SYSTEM)
            return
    if not live.stripe_id:
        return
    try:
        client().end_subscription(live.stripe_id, key="")
    except StripeRefused as refusal:
        if refusal.code != "resource_missing":
            raise
    refresh("subscription", live.stripe_id)
