"""Projects Stripe's objects, as they were fetched, onto our rows; an earlier answer never overwrites a later one.

Called inside the scope of the organization whose customer it is.
"""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from billing import plans
from billing.models import ENDED, BillingAccount, Source, Status, Subscription
from billing.plans import Allowance, Interval
from billing.services import entitlements, paperwork
from billing.services.paperwork import moment
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Target, record
from tenancy.clock import here
from tenancy.services import organizations

Json = dict[str, Any]
# With an amount at its end it is not the catalogue's price, but one that was granted
LOOKUP_KEY = re.compile(r"(?P<key>[a-z]+)-v(?P<version>\d+)-(?P<what>[a-z_]+)(-(?P<granted>\d+))?")
INTERVALS = frozenset(Interval)
log = logging.getLogger("billing")


class UnknownPrice(Exception):
    """A subscription at Stripe has no price of our catalogue. Add one there, then replay the event."""


class SecondSubscription(Exception):
    """The organization has a live subscription already. End one of the two, then replay the event."""


def project(kind: str, found: Json, at: datetime) -> None:
    """Bring our rows to what `found` says, fetched at `at`. Raises UnknownPrice, SecondSubscription."""
    if handler := PROJECTIONS.get(kind):
        handler(found, at)


def base_price(items: list[Json]) -> tuple[plans.Plan, Interval, Json]:
    """The plan, the interval and the item that make a list of items a subscription of ours. Raises UnknownPrice."""
    for item in items:
        match = LOOKUP_KEY.fullmatch(item["price"].get("lookup_key") or "")
        if match and match["what"] in INTERVALS:
            return plans.plan(match["key"], int(match["version"])), Interval(match["what"]), item
    raise UnknownPrice("None of the prices is of our catalogue: " + ", ".join(item["price"]["id"] for item in items))


def item_of(items: list[Json], what: str) -> Json | None:
    """The item of a subscription that is its plan's price for `what` (`seat` or an allowance), if there is one."""
    for item in items:
        match = LOOKUP_KEY.fullmatch(item["price"].get("lookup_key") or "")
        if match and match["what"] == what:
            return item
    return None


def locked_account() -> BillingAccount | None:
    """The payer in scope, locked."""
    return BillingAccount.objects.select_for_update(no_key=True).first()


# --- Customers ---


def _customer(found: Json, at: datetime) -> None:
    account = locked_account()
    if account is None or (account.synced_at and account.synced_at >= at):
        return
    account.synced_at = at
    if found.get("deleted"):
        account.stripe_customer_id = None  # the next purchase makes another
        account.has_payment_method, account.method_seen_at = False, at
        account.save()
        return
    claimed = (found.get("metadata") or {}).get("organization", "")
    alarm = "" if claimed == str(account.organization_id) else claimed or "nobody"
    if alarm and alarm != account.link_alarm:
        log.error("billing.link_mismatch customer=%s ours=%s", found["id"], account.organization_id)
        metadata = {"customer": found["id"], "claimed": alarm}
        target = Target("billing_account", str(account.pk), found["id"])
        record(action=actions.BILLING_LINK_MISMATCH, actor=SYSTEM, target=target, metadata=metadata)
    account.link_alarm = alarm[:255]
    _see_method(account, found, (found.get("subscriptions") or {"data": []})["data"], at)
    account.legal_name = (found.get("name") or "")[:200]
    account.address = found.get("address") or {}
    tax_ids = found.get("tax_ids") or {"data": []}
    account.tax_ids = [
        {
            "id": one["id"],
            "type": one["type"],
            "value": one["value"],
            "status": (one.get("verification") or {}).get("status") or "pending",
        }
        for one in tax_ids["data"]
    ]
    account.save()


def _see_method(account: BillingAccount, customer: Json, subscriptions: list[Json], at: datetime) -> None:
    """Whether something is paid with a card, as it was at `at`: the customer's own, or that of a subscription."""
    if account.method_seen_at is None or account.method_seen_at < at:
        settings = customer.get("invoice_settings") or {}
        own = settings.get("default_payment_method") or customer.get("default_source")
        of_live = any(one.get("default_payment_method") for one in subscriptions if one.get("status") not in ENDED)
        account.has_payment_method, account.method_seen_at = bool(own or of_live), at


# --- Subscriptions ---


def _subscription(found: Json, at: datetime) -> None:
    organizations.locked()  # so that two of one organization are not made side by side
    row = Subscription.objects.filter(stripe_id=found["id"]).first()
    if row is not None and row.synced_at and row.synced_at >= at:
        return
    if found.get("deleted") and row is None:
        return
    before = {} if row is None else _said(row)
    was_overdue = row is not None and row.status in {Status.PAST_DUE, Status.UNPAID}
    row = row or Subscription(stripe_id=found["id"], source=Source.STRIPE)
    if found.get("deleted"):
        row.status, row.ended_at = Status.CANCELED, here()
    else:
        _take_over(row, found)
    _refuse_second(row)
    row.synced_at = at
    row.save()
    _tell(row, before)
    if was_overdue and (found.get("cancellation_details") or {}).get("reason") == "payment_failed":
        log.error("billing.ended_by_stripe subscription=%s", found["id"])  # its setting takes the plan away too early
    if isinstance(found.get("customer"), dict) and (account := locked_account()):  # fetched together with its customer
        _see_method(account, found["customer"], [found], at)
        account.save(update_fields=["has_payment_method", "method_seen_at"])
    elif found.get("default_payment_method"):
        BillingAccount.objects.update(has_payment_method=True)
    if row.trial_end:
        BillingAccount.objects.update(has_had_trial=True)
    entitlements.recompute(actor=SYSTEM)


def _take_over(row: Subscription, found: Json) -> None:
    items = found["items"]["data"]
    plan, interval, base = base_price(items)
    seat = item_of(items, "seat")
    row.plan_key, row.plan_version, row.interval = plan.key, plan.version, interval.value
    row.status = found["status"]
    row.seats = plan.allowances[Allowance.SEATS].quantity + (seat["quantity"] if seat else 0)
    period_start = datetime.fromtimestamp(base["current_period_start"], UTC)
    if row.period_start != period_start:  # a new period: what was paid for the old one is over
        row.paid_seats, row.seat_line_id, row.seat_line_amount = row.seats, "", 0
        BillingAccount.objects.update(seat_high_water=0)
    row.period_start = period_start
    row.period_end = datetime.fromtimestamp(base["current_period_end"], UTC)
    row.trial_end = moment(found.get("trial_end"))
    row.cancel_at = moment(found.get("cancel_at")) or (row.period_end if found.get("cancel_at_period_end") else None)
    row.ended_at = moment(found.get("ended_at"))
    row.schedule_id = found.get("schedule") or ""
    if not row.schedule_id:
        row.scheduled_plan_key, row.scheduled_plan_version = "", None
        row.scheduled_interval, row.scheduled_at = "", None


def _refuse_second(row: Subscription) -> None:
    live = Subscription.objects.exclude(status__in=ENDED).exclude(pk=row.pk).first()
    if live is not None and row.status not in ENDED:
        raise SecondSubscription(f"{row.stripe_id} stands beside {live.stripe_id or live.source}.")


def _said(row: Subscription) -> Json:
    return {
        "plan": row.plan_key,
        "version": row.plan_version,
        "interval": row.interval,
        "seats": row.seats,
        "status": row.status,
        "cancel_at": row.cancel_at,
    }


def _tell(row: Subscription, before: Json) -> None:
    """Record what changed in the trail, once."""
    after = _said(row)
    if before == after:
        return
    if not before:
        action = actions.BILLING_SUBSCRIPTION_STARTED
    elif row.status in ENDED:
        action = actions.BILLING_SUBSCRIPTION_ENDED
    else:
        action = actions.BILLING_SUBSCRIPTION_CHANGED
    metadata = {name: value for name, value in after.items() if name != "cancel_at"}
    changes = action.changed(before, after) if before else None
    record(action=action, actor=SYSTEM, target=target_of(row), metadata=metadata, changes=changes)


def target_of(row: Subscription) -> Target:
    """The subscription as an audit target."""
    return Target("subscription", str(row.pk), f"{row.plan_key} {row.interval}")


def _schedule(found: Json, at: datetime) -> None:
    row = Subscription.objects.select_for_update(no_key=True).filter(stripe_id=found.get("subscription")).first()
    if row is None:
        return
    phases = [phase for phase in found.get("phases") or [] if phase["start_date"] > at.timestamp()]
    if found.get("status") not in {"active", "not_started"} or not phases:
        row.schedule_id, row.scheduled_plan_key, row.scheduled_plan_version = "", "", None
        row.scheduled_interval, row.scheduled_at = "", None
    else:
        row.schedule_id = found["id"]
        row.scheduled_at = moment(phases[0]["start_date"])
    row.save()


PROJECTIONS: dict[str, Callable[[Json, datetime], None]] = {
    "customer": _customer,
    "subscription": _subscription,
    "subscription_schedule": _schedule,
    "invoice": paperwork.invoice,
    "credit_note": paperwork.credit_note,
    "refund": paperwork.refund,
    "dispute": paperwork.dispute,
}
