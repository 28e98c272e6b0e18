"""Writes when credits buy themselves: the customer's choice, the wish when the balance falls, and the end of it."""

from dataclasses import asdict
from datetime import datetime

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from billing import announcements, letters
from billing.credits.models import AutoTopUp, TopUp
from billing.credits.services.checks import check_amount, check_currency
from billing.money import Money
from capsule_cloud.lib.jobs import enqueue
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.errors import Invalid

LEAST_AMOUNT = 500  # minor units: below it a card's fees eat the payment


def configure(
    *, actor: Actor, currency: str, threshold: int, amount: int, monthly_maximum: int, is_on: bool = True
) -> AutoTopUp:
    """Choose when to buy how much, in minor units; a stopped one starts again. Raises Invalid."""
    check_currency(currency)
    check_amount(amount)
    if amount < LEAST_AMOUNT:
        raise Invalid("amount", f"Buy at least {Money(LEAST_AMOUNT, currency)} at once.")
    if threshold < 0:
        raise Invalid("threshold", "A balance never falls below nothing: choose 0 or more.")
    if monthly_maximum < amount:
        raise Invalid("monthly_maximum", "The monthly maximum must allow one purchase at least.")
    with transaction.atomic():
        action = actions.AUTO_TOP_UP_CHANGED
        wanted = {
            "threshold": threshold,
            "amount": amount,
            "monthly_maximum": monthly_maximum,
            "is_on": is_on,
            "stopped_at": None,
        }
        before = AutoTopUp.objects.select_for_update().filter(currency=currency).values(*wanted).first()
        chosen, _ = AutoTopUp.objects.update_or_create(
            currency=currency,
            defaults={**wanted, "stop_reason": "", "maximum_noted_at": None, "changed_at": timezone.now()},
        )
        record(action=action, actor=actor, target=_target(chosen), changes=action.changed(before or {}, wanted))
    return chosen


def request_if_low(*, currency: str, balance: int, now: datetime) -> TopUp | None:
    """Wish for a top-up when `balance` is below the threshold: within the burn's transaction, under its lock.

    Nothing happens while one is under way, after one that failed, or beyond the month's maximum (which is said once).
    """
    chosen = AutoTopUp.objects.filter(currency=currency, is_on=True, stopped_at=None, threshold__gt=balance).first()
    if chosen is None:
        return None
    mine = TopUp.objects.filter(currency=currency, is_automatic=True)
    if mine.filter(state=TopUp.State.REQUESTED).exists():
        return None
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    bought = mine.filter(state=TopUp.State.PAID, requested_at__gte=month).aggregate(sum=Sum("amount"))["sum"] or 0
    if bought + chosen.amount > chosen.monthly_maximum:
        _note_maximum(chosen, balance, month, now)
        return None
    wish = TopUp.objects.create(
        currency=currency,
        amount=chosen.amount,
        is_automatic=True,
        author=asdict(SYSTEM),
        due_at=min(now, timezone.now()),  # workers go by the real clock
        requested_at=now,
    )
    record(
        action=actions.TOP_UP_REQUESTED,
        actor=SYSTEM,
        target=Target("top_up", str(wish.pk), "automatic"),
        metadata={"amount": wish.amount, "currency": currency, "balance": balance},
    )
    announcements.credits_low(balance=balance, threshold=chosen.threshold, currency=currency, top_up_id=wish.pk)
    enqueue("credits.pay_top_up", organization_id=wish.organization_id, top_up_id=str(wish.pk))
    return wish


def stop(*, currency: str, reason: str, now: datetime) -> None:
    """End automatic purchases after one that failed, and say so; only `configure` starts them again."""
    chosen = AutoTopUp.objects.select_for_update().filter(currency=currency, stopped_at=None).first()
    if chosen is None:
        return
    action = actions.AUTO_TOP_UP_STOPPED
    changes = action.change(chosen, {"stopped_at": now})
    chosen.stop_reason = reason
    chosen.save(update_fields=["stopped_at", "stop_reason"])
    record(action=action, actor=SYSTEM, target=_target(chosen), metadata={"cause": reason}, changes=changes)
    letters.send(
        template="auto_top_up_stopped",
        subject="Your card was declined: automatic top-ups are off",
        context={"amount": str(Money(chosen.amount, currency)), "reason": reason},
    )


def _note_maximum(chosen: AutoTopUp, balance: int, month: datetime, now: datetime) -> None:
    if chosen.maximum_noted_at and chosen.maximum_noted_at >= month:
        return
    chosen.maximum_noted_at = now
    chosen.save(update_fields=["maximum_noted_at"])
    record(
        action=actions.AUTO_TOP_UP_MAXIMUM_REACHED,
        actor=SYSTEM,
        target=_target(chosen),
        metadata={"monthly_maximum": chosen.monthly_maximum},
    )
    letters.send(
        template="auto_top_up_maximum",
        subject="Your monthly maximum for automatic top-ups is reached",
        context={
            "maximum": str(Money(chosen.monthly_maximum, chosen.currency)),
            "balance": str(Money(balance, chosen.currency)),
        },
    )


def _target(chosen: AutoTopUp) -> Target:
    return Target("auto_top_up", str(chosen.pk), chosen.currency)
