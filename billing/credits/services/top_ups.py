"""Writes purchases of credits: the wish, the payment outside any transaction, and the grant, exactly once."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from billing import announcements
from billing.credits.models import Category, TopUp
from billing.credits.services.auto_top_ups import LEAST_AMOUNT, stop
from billing.credits.services.checks import check_amount, check_currency
from billing.credits.services.ledger import grant
from billing.money import Money
from billing.stripe_client import StripeRefused, StripeUnavailable
from capsule_cloud.lib.jobs import enqueue
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.clock import here
from tenancy.errors import Invalid, NotFound
from tenancy.scope import scope, unscoped
from tenancy.selectors import organization as organization_in_scope

LEASE = timedelta(minutes=5)  # longer than a payment may take
LONGEST_TRY = timedelta(hours=20)  # Stripe forgets after 24 hours that it has seen a request
LONGEST_WAIT = 12  # as a power of two, in seconds: a good hour
LONGEST_REASON = 200
log = logging.getLogger("billing.credits")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be paid. Its id makes every call to Stripe about it the same one, however often it is tried."""

    id: UUID
    organization_id: UUID
    amount: int
    currency: str
    is_automatic: bool


@dataclass(frozen=True, slots=True)
class Payment:
    """How it went: paid, or an invoice that waits at `page_url` with the reason why the card did not do."""

    ref: str
    is_paid: bool
    page_url: str = ""
    reason: str = ""


Cashier = Callable[[Order], Payment]  # raises StripeUnavailable or StripeRefused


def request(*, actor: Actor, amount: int, currency: str, now: datetime | None = None) -> TopUp:
    """Buy credits once: the card on file pays within seconds, else `page_url` says where to. Raises Invalid."""
    now = now or timezone.now()
    check_amount(amount)
    check_currency(currency)
    if amount < LEAST_AMOUNT:
        raise Invalid("amount", f"Buy at least {Money(LEAST_AMOUNT, currency)} at once.")
    with transaction.atomic():
        wish = TopUp.objects.create(
            currency=currency,
            amount=amount,
            is_automatic=False,
            author=asdict(actor),
            due_at=now,
            requested_at=now,
        )
        record(
            action=actions.TOP_UP_REQUESTED,
            actor=actor,
            target=_target(wish),
            metadata={"amount": amount, "currency": currency},
        )
        enqueue("credits.pay_top_up", organization_id=wish.organization_id, top_up_id=str(wish.pk))
    return wish


def pay(*, organization_id: UUID | str, top_up_id: UUID | str, cashier: Cashier, now: datetime) -> None:
    """Pay a top-up that is due, outside any transaction; nothing when somebody else does, or it is settled.

    When Stripe is away it stays due for the sweep; a card that is refused ends it, and automatic top-ups with it.
    """
    with scope(organization_id) as organization:
        order = _claim(UUID(str(top_up_id)), organization, now)
    if order is None:
        return
    try:
        payment = cashier(order)
    except StripeUnavailable as error:
        log.warning("credits.top_up_waits top_up=%s", order.id)
        with scope(organization_id):
            _wait(order.id, timedelta(seconds=error.retry_after), now)
    except StripeRefused as error:
        with scope(organization_id):
            _end(order.id, Payment("", is_paid=False, reason=str(error)), organization_in_scope().at(now))
    else:
        with scope(organization_id):
            now = organization_in_scope().at(now)
            if payment.is_paid:
                settle(top_up_id=order.id, payment_ref=payment.ref, now=now)
            else:
                _end(order.id, payment, now)


def settle(*, top_up_id: UUID, payment_ref: str, now: datetime | None = None) -> TopUp:
    """The money is there: grant the credits, once, whoever says so first and however often. Raises NotFound."""
    now = now or here()
    with transaction.atomic():
        paid = _locked(top_up_id)
        grant(
            actor=Actor(**paid.author),
            amount=paid.amount,
            currency=paid.currency,
            category=Category.PAID,
            reason="Automatic top-up" if paid.is_automatic else "Top-up",
            ref=f"top-up:{paid.pk}",
            now=now,
        )
        if paid.state != TopUp.State.PAID:
            paid.state, paid.payment_ref, paid.settled_at, paid.error = TopUp.State.PAID, payment_ref, now, ""
            paid.save(update_fields=["state", "payment_ref", "settled_at", "error"])
            announcements.credits_topped_up(amount=paid.amount, currency=paid.currency, top_up_id=paid.pk)
    return paid


def pay_due(*, cashier: Cashier, now: datetime, limit: int = 100) -> int:
    """Pay what no worker has paid yet, of every organization; how many there were.

    One that fails does not keep the others: its lease makes it wait, and the failures are raised at the end.
    """
    with unscoped(reason="find top-ups that wait for a payment") as wide:
        due = wide.rows("credits_top_ups_due", now, limit)
    failures: list[Exception] = []
    for row in due:
        try:
            pay(organization_id=row["organization_id"], top_up_id=row["top_up_id"], cashier=cashier, now=now)
        except Exception as failure:
            log.exception("credits.top_up_failed top_up=%s", row["top_up_id"])
            failures.append(failure)
    if failures:
        raise ExceptionGroup("Some top-ups could not be paid.", failures)
    return len(due)


def _claim(top_up_id: UUID, organization_id: UUID, now: datetime) -> Order | None:
    wish = (
        TopUp.objects.select_for_update(skip_locked=True)
        .filter(pk=top_up_id, state=TopUp.State.REQUESTED, due_at__lte=now)
        .first()
    )
    if wish is None:
        return None
    if now > wish.requested_at + LONGEST_TRY:  # should it be paid nevertheless, `settle` hears of it from Stripe
        _end(wish.pk, Payment("", is_paid=False, reason="The payment provider could not be reached for a day."), now)
        return None
    wish.due_at = now + LEASE
    wish.attempts += 1
    wish.save(update_fields=["due_at", "attempts"])
    return Order(wish.pk, organization_id, wish.amount, wish.currency, wish.is_automatic)


def _wait(top_up_id: UUID, after: timedelta, now: datetime) -> None:
    wish = _locked(top_up_id)
    wish.due_at = now + max(after, timedelta(seconds=2 ** min(wish.attempts, LONGEST_WAIT)))
    wish.save(update_fields=["due_at"])


def _end(top_up_id: UUID, payment: Payment, now: datetime) -> None:
    """The card did not pay: a customer's own purchase waits at its page if there is one, an automatic one is over."""
    wish = _locked(top_up_id)
    if wish.state != TopUp.State.REQUESTED:
        return  # it was paid meanwhile
    is_open = bool(payment.page_url) and not wish.is_automatic
    wish.state = TopUp.State.OPEN if is_open else TopUp.State.FAILED
    wish.payment_ref, wish.page_url = payment.ref, payment.page_url
    wish.error = payment.reason[:LONGEST_REASON]
    wish.settled_at = None if is_open else now
    wish.save(update_fields=["state", "payment_ref", "page_url", "error", "settled_at"])
    if not is_open:
        record(action=actions.TOP_UP_FAILED, actor=SYSTEM, target=_target(wish), metadata={"cause": wish.error})
    if wish.is_automatic:
        stop(currency=wish.currency, reason=wish.error, now=now)


def _locked(top_up_id: UUID) -> TopUp:
    found = TopUp.objects.select_for_update().filter(pk=top_up_id).first()
    if found is None:
        raise NotFound("There is no such top-up.")
    return found


def _target(wish: TopUp) -> Target:
    return Target("top_up", str(wish.pk), "automatic" if wish.is_automatic else "")
