"""Starts, schedules, cancels and resumes what an organization pays for; what a change costs is in `changes`.

Nothing here may be called inside a scope: Stripe is asked in between, and never in an open transaction.
"""

from dataclasses import dataclass
from uuid import UUID

from billing.models import ENDED, BillingAccount, Subscription
from billing.plans import FREE, Allowance, Interval, Plan, current
from billing.selectors.subscriptions import blockers
from billing.services.accounts import customer_of, ensure_customer, locked_account
from billing.services.changes import chosen_plan, claim_revision, granted, live_subscription
from billing.services.prices import check_seats, items_for
from billing.services.projection import target_of
from billing.stripe_client import Json, StripeRefused, client
from billing.stripe_events import apply, now, refresh
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, Invalid
from tenancy.scope import scope

WORDS = {Interval.MONTHLY: "month", Interval.YEARLY: "year"}  # Stripe's
AT_END = {"cancel", "pause", "create_invoice"}


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial: whether it asks for a card, and what comes at its end without one (cancel, pause or create_invoice)."""

    needs_card: bool = True
    at_end: str = "cancel"


class Blocked(Conflict):
    """More is in use than the smaller plan has; `reasons` says what, in sentences."""

    code = "usage_exceeds_plan"

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(" ".join(reasons))
        self.reasons = reasons


def checkout(
    *,
    organization_id: UUID,
    actor: Actor,
    plan_key: str,
    interval: str,
    seats: int,
    return_url: str,
    trial: Trial | None = None,
) -> str:
    """The address of the page where the plan is bought; whichever page was open before is closed.

    Raises Invalid, Conflict where there is a subscription already or the trial is used up, StripeUnavailable.
    """
    chosen, every = chosen_plan(plan_key, interval)
    check_seats(seats)
    customer = ensure_customer(organization_id=organization_id)
    with scope(organization_id):
        account = locked_account()
        _refuse_second()
        form = _trial(chosen, account, trial)
    stripe = client()
    if account.checkout_id and not _close_page(account.checkout_id):
        _hear_of_page(account.checkout_id)
        with scope(organization_id):
            _refuse_second()
    session = stripe.create_checkout(
        customer=customer,
        items=items_for(granted(organization_id, chosen), every, seats),
        trial=form,
        urls=(f"{return_url}?done=1", return_url),
        key="",
    )
    with scope(organization_id):
        mine = BillingAccount.objects.filter(checkout_id=account.checkout_id)
        if is_open := bool(mine.update(checkout_id=session["id"])):
            metadata = {"plan": chosen.key, "interval": every.value, "seats": seats}
            target = Target("checkout", session["id"], chosen.name)
            record(action=actions.BILLING_CHECKOUT_OPENED, actor=actor, target=target, metadata=metadata)
    if not is_open:
        _close_page(session["id"])
        raise Conflict("Another checkout was opened meanwhile: use that page, or try again.")
    return str(session["url"])


def _close_page(session: str) -> bool:
    """So that nobody pays twice on two pages; False for one that cannot be closed: it is done, or gone."""
    try:
        client().expire_checkout(session)
    except StripeRefused:
        return False
    return True


def _hear_of_page(session: str) -> None:
    """Take over at once what was bought on a page, where Stripe's word about it is still under way."""
    try:
        bought = client().retrieve("checkout.session", session).get("subscription")
    except StripeRefused as refusal:
        if refusal.code != "resource_missing":
            raise
        return
    if bought:
        refresh("subscription", bought)


def _refuse_second() -> None:
    if Subscription.objects.exclude(status__in=ENDED).exists():
        raise Conflict("There is a subscription already: change it instead.")


def _trial(chosen: Plan, account: BillingAccount, trial: Trial | None) -> Json | None:
    if trial is None:
        return None
    if trial.at_end not in AT_END:
        raise Invalid("at_end", f"Choose what comes after the trial: {', '.join(sorted(AT_END))}.")
    if not chosen.trial_days:
        raise Invalid("plan", "This plan has no trial.")
    if account.has_had_trial:
        raise Conflict("The trial has been used already.")
    return {"days": chosen.trial_days, "needs_card": trial.needs_card, "at_end": trial.at_end}


def start_trial(*, organization_id: UUID, actor: Actor, plan_key: str, at_end: str = "cancel") -> None:
    """Start a trial that asks for nothing. Raises Invalid, Conflict, StripeUnavailable or StripeRefused."""
    chosen, every = chosen_plan(plan_key, Interval.MONTHLY)
    customer = ensure_customer(organization_id=organization_id)
    with scope(organization_id):
        account = locked_account()
        _refuse_second()
        form = _trial(chosen, account, Trial(needs_card=False, at_end=at_end))
    at = now()
    items = items_for(granted(organization_id, chosen), every, 0)
    found = client().create_subscription(customer, items, trial=form, key=f"trial:{account.pk}:{chosen.key}")
    apply("subscription", found, at)
    with scope(organization_id):
        row = Subscription.objects.get(stripe_id=found["id"])
        record(action=actions.BILLING_TRIAL_STARTED, actor=actor, target=target_of(row))


def schedule_downgrade(*, organization_id: UUID, actor: Actor, plan_key: str, interval: str) -> None:
    """Change to a smaller plan when the period ends; until then it can be taken back. The free plan: cancel then.

    Raises Blocked with reasons while more is in use than the plan has; Invalid, Conflict, StripeUnavailable.
    """
    row = live_subscription(organization_id)
    target_plan = current(FREE) if plan_key == FREE else chosen_plan(plan_key, interval)[0]
    with scope(organization_id):
        if reasons := blockers(target_plan):
            raise Blocked(reasons)
    if plan_key == FREE:
        cancel(organization_id=organization_id, actor=actor)
        return
    chosen, every = chosen_plan(plan_key, interval)
    revision = claim_revision(organization_id, row)
    stripe, key = client(), f"schedule:{row.pk}:{revision}"
    schedule_id = row.schedule_id or str(stripe.create_schedule(str(row.stripe_id), key=key)["id"])
    now_running = stripe.retrieve("subscription_schedule", schedule_id)["phases"][0]
    seats = max(row.seats - _included_in(row), 0) + chosen.allowances[Allowance.SEATS].quantity
    later = items_for(granted(organization_id, chosen), every, seats)
    phases: list[Json] = [
        {
            "items": [_phase_item(item) for item in now_running["items"]],
            "start_date": now_running["start_date"],
            "end_date": now_running["end_date"],
        },
        {"items": [item.form() for item in later], "duration": {"interval": WORDS[every]}},
    ]
    stripe.set_schedule(schedule_id, phases, key=f"{key}:phases")
    with scope(organization_id):
        Subscription.objects.filter(pk=row.pk).update(
            schedule_id=schedule_id,
            scheduled_plan_key=chosen.key,
            scheduled_plan_version=chosen.version,
            scheduled_interval=every.value,
            scheduled_at=row.period_end,
        )
        action = actions.BILLING_DOWNGRADE_SCHEDULED
        now_on, later_on = (row.plan_key, row.interval), (chosen.key, every.value)
        changes = action.changed(*(dict(zip(("plan", "interval"), one, strict=True)) for one in (now_on, later_on)))
        metadata = {"at": row.period_end.isoformat()}
        record(action=action, actor=actor, target=target_of(row), metadata=metadata, changes=changes)


def _phase_item(item: Json) -> Json:
    price = item["price"]
    form: Json = {"price": price["id"] if isinstance(price, dict) else price}
    if item.get("quantity") is not None:
        form["quantity"] = item["quantity"]
    return form


def _included_in(row: Subscription) -> int:
    return row.plan.allowances[Allowance.SEATS].quantity


def cancel_schedule(*, organization_id: UUID, actor: Actor) -> None:
    """Take a scheduled change back: the plan stays. Raises Conflict, StripeUnavailable or StripeRefused."""
    row = live_subscription(organization_id)
    if not row.schedule_id:
        raise Conflict("No change is scheduled.")
    client().release_schedule(row.schedule_id, key="")
    with scope(organization_id):
        Subscription.objects.filter(pk=row.pk).update(
            schedule_id="", scheduled_plan_key="", scheduled_plan_version=None, scheduled_interval="", scheduled_at=None
        )
        action = actions.BILLING_DOWNGRADE_UNSCHEDULED
        dropped = {"plan": row.scheduled_plan_key, "interval": row.scheduled_interval}
        changes = action.changed(dropped, {"plan": row.plan_key, "interval": row.interval})
        record(action=action, actor=actor, target=target_of(row), changes=changes)


def cancel(*, organization_id: UUID, actor: Actor) -> None:
    """End the subscription when the period does. Raises Blocked, Conflict, StripeUnavailable or StripeRefused."""
    row = live_subscription(organization_id)
    if row.schedule_id:
        cancel_schedule(organization_id=organization_id, actor=actor)
    _update(organization_id, row, {"cancel_at_period_end": True})
    with scope(organization_id):
        changes = actions.BILLING_CANCEL_ORDERED.changed({"cancel_at": row.cancel_at}, {"cancel_at": row.period_end})
        record(action=actions.BILLING_CANCEL_ORDERED, actor=actor, target=target_of(row), changes=changes)


def resume(*, organization_id: UUID, actor: Actor) -> None:
    """Take a cancellation back before it comes. Raises Conflict, StripeUnavailable or StripeRefused."""
    row = live_subscription(organization_id)
    if row.cancel_at is None:
        raise Conflict("The subscription is not cancelled.")
    _update(organization_id, row, {"cancel_at_period_end": False})
    with scope(organization_id):
        changes = actions.BILLING_RESUMED.changed({"cancel_at": row.cancel_at}, {})
        record(action=actions.BILLING_RESUMED, actor=actor, target=target_of(row), changes=changes)


def redeem(*, organization_id: UUID, actor: Actor, code: str) -> None:
    """Put a promotion code on the subscription. Raises Invalid for one that does not count, Conflict."""
    row = live_subscription(organization_id)
    promotion = client().promotion_code(code.strip())
    if promotion is None:
        raise Invalid("code", "This code is not valid.")
    try:
        _update(organization_id, row, {"discounts": [{"promotion_code": promotion["id"]}]})
    except StripeRefused as refusal:
        raise Invalid("code", str(refusal)) from refusal
    with scope(organization_id):
        metadata = {"code": promotion["code"]}
        record(action=actions.BILLING_COUPON_REDEEMED, actor=actor, target=target_of(row), metadata=metadata)


def _update(organization_id: UUID, row: Subscription, form: Json) -> None:
    revision = claim_revision(organization_id, row)
    at = now()
    found = client().update_subscription(str(row.stripe_id), form, key=f"update:{row.pk}:{revision}")
    apply("subscription", found, at)


def portal(*, organization_id: UUID, actor: Actor, return_url: str) -> str:
    """The address of Stripe's page for cards, addresses and invoices. Raises Conflict, StripeUnavailable."""
    session = client().create_portal(customer_of(organization_id), return_url, key="")
    with scope(organization_id):
        target = Target("portal", session["id"], "")
        record(action=actions.BILLING_CHECKOUT_OPENED, actor=actor, target=target)
    return str(session["url"])
