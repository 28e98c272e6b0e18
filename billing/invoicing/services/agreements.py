"""Changes what an organization is on that Stripe does not collect from; each part of the month is billed by its own."""

from datetime import datetime

from billing.invoicing.models import Agreed
from billing.models import ENDED, Interval, Source, Subscription
from billing.plans import UnknownPlan, current
from billing.services.entitlements import recompute
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.clock import here
from tenancy.errors import Conflict, Invalid
from tenancy.services import organizations

MOST_SEATS = 100_000


class NotOurs(Conflict):
    """There is no agreement, or Stripe collects for it: there it is changed."""

    code = "agreement_not_ours"


def change_agreement(
    *, actor: Actor, plan_key: str = "", seats: int | None = None, now: datetime | None = None
) -> Subscription:
    """Put the organization in scope on the newest version of another plan, or on other seats, from now on.

    The plan and the seats are prorated by the second, use is priced by the plan of its hour. What holds already changes
    nothing. A contract names its plan, a year is paid ahead: of both the seats alone change. Raises Invalid, NotOurs.
    """
    now = now or here()
    organizations.locked()
    row = Subscription.objects.exclude(status__in=ENDED).first()
    if row is None or row.source == Source.STRIPE:
        raise NotOurs("Nothing was agreed here that could be changed.")
    plan_version = row.plan_version
    if plan_key:
        plan_version = _version(row, plan_key)
    plan_key, seats = plan_key or row.plan_key, row.seats if seats is None else seats
    if not 1 <= seats <= MOST_SEATS:
        raise Invalid("seats", f"Between 1 and {MOST_SEATS:,} seats.")
    if (plan_key, plan_version, seats) == (row.plan_key, row.plan_version, row.seats):
        return row
    if not Agreed.objects.filter(subscription=row).exists():
        keep(row, since=min(row.created_at, row.period_start), author="")
    before = {"plan": row.plan_key, "version": row.plan_version, "seats": row.seats}
    row.plan_key, row.plan_version, row.seats = plan_key, plan_version, seats
    row.save(update_fields=["plan_key", "plan_version", "seats"])
    keep(row, since=now, author=actor.label)
    action = actions.BILLING_SUBSCRIPTION_CHANGED
    record(
        action=action,
        actor=actor,
        target=Target("subscription", str(row.pk), f"{row.plan_key} {row.interval}"),
        metadata={"since": now.isoformat()},
        changes=action.changed(before, {"plan": plan_key, "version": plan_version, "seats": seats}),
    )
    recompute(actor=actor)
    return row


def keep(row: Subscription, *, since: datetime, author: str) -> Agreed:
    """Write down what a subscription is on from a moment on, in its caller's transaction, which records it."""
    made, _ = Agreed.objects.update_or_create(
        subscription=row,
        since=since,
        defaults={
            "organization_id": row.organization_id,
            "plan_key": row.plan_key,
            "plan_version": row.plan_version,
            "seats": row.seats,
            "author": author,
        },
    )
    return made


def _version(row: Subscription, plan_key: str) -> int:
    if row.source == Source.CONTRACT:
        raise Invalid("plan_key", "A contract names its plan: end it and sign another.")
    if row.interval == Interval.YEARLY and plan_key != row.plan_key:
        raise Invalid("plan_key", "A year is paid ahead: the plan can change when it is over.")
    try:
        return current(plan_key).version if plan_key != row.plan_key else row.plan_version
    except UnknownPlan as unknown:
        raise Invalid("plan_key", str(unknown)) from None
