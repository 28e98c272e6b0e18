"""Writes the ledger: every movement is one balanced transaction under the lock of the organization's balance."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from billing.credits.models import Account, AccountKind, Category, Entry, Grant, Transaction
from billing.credits.selectors import balance, in_burn_order
from billing.credits.services.auto_top_ups import request_if_low
from billing.credits.services.checks import check_amount, check_currency, clean_text
from billing.money import Money
from tenancy.audit import actions
from tenancy.audit.actions import Action
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.clock import furthest, here
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.scope import scope, unscoped
from tenancy.selectors import organization

LOWEST_PRIORITY = 100
PAGE = 500  # organizations that the expiry sweep asks for at once
log = logging.getLogger("billing.credits")


class CreditsExhausted(Conflict):
    """There are fewer credits than were to be burned; nothing was. A retry helps after a top-up alone."""

    code = "credits_exhausted"


class RefReused(Conflict):
    """The reference stands for another movement already."""

    code = "ref_reused"


class NothingToVoid(Conflict):
    """Nothing remains of the grant."""

    code = "nothing_to_void"


class ExpiryFailed(Exception):
    """Some organizations' grants could not be expired; the log says why, the next run tries again."""


@dataclass(frozen=True, slots=True)
class Part:
    """How much of a movement is of one grant, in minor units, and from which account to which."""

    grant: Grant
    amount: int
    source: AccountKind
    sink: AccountKind


@dataclass(frozen=True, slots=True)
class Movement:
    """A transaction to be: what is written beside its entries."""

    kind: Transaction.Kind
    ref: str
    reason: str
    actor: Actor
    now: datetime


def grant(
    *,
    actor: Actor,
    amount: int,
    currency: str,
    category: str,
    reason: str,
    ref: str,
    priority: int = 50,
    expires_at: datetime | None = None,
    now: datetime | None = None,
) -> Grant:
    """Give credits to the organization in scope: `amount` minor units, burned before grants of a higher `priority`.

    Those that are paid for pay first what is owed for earlier ones. Once for a `ref`: a repetition returns the grant of
    the first time. Raises Invalid or RefReused.
    """
    now = now or here()
    check_amount(amount)
    check_currency(currency)
    reason = clean_text("reason", reason)
    if category not in Category.values:
        raise Invalid("category", f"Choose a category: {', '.join(Category.values)}.")
    if not 0 <= priority <= LOWEST_PRIORITY:
        raise Invalid("priority", f"A priority is a number from 0 (burned first) to {LOWEST_PRIORITY}.")
    if expires_at is not None and expires_at <= now:
        raise Invalid("expires_at", "Credits cannot expire in the past.")
    move = Movement(Transaction.Kind.GRANT, clean_text("ref", ref), reason, actor, now)
    with transaction.atomic():
        accounts = locked_accounts(currency)
        if done := _repeated(move, currency, amount):
            return Grant.objects.get(entries__transaction=done, entries__amount__gt=0)
        made = Grant.objects.create(
            currency=currency,
            amount=amount,
            priority=priority,
            expires_at=expires_at,
            category=category,
            reason=reason,
            author=asdict(actor),
            created_at=now,
        )
        post(move, accounts, [Part(made, amount, AccountKind(category), AccountKind.BALANCE)], asked=amount)
        owed = -accounts[AccountKind.OWED].balance
        if category == Category.PAID and owed:
            repaid = Part(made, min(owed, amount), AccountKind.BALANCE, AccountKind.OWED)
            move = Movement(Transaction.Kind.REPAYMENT, f"repayment:{made.pk}", "", actor, now)
            post(move, accounts, [repaid], asked=repaid.amount)
        made.refresh_from_db(fields=["remaining"])
    return made


def burn(
    *, actor: Actor, amount: int, currency: str, ref: str, is_partial: bool = False, now: datetime | None = None
) -> Transaction:
    """Burn `amount` minor units in burn order; the transaction's `amount` says how much it was.

    With `is_partial` as much as there is (possibly 0), without it all or CreditsExhausted. A balance that falls below
    the threshold of an automatic top-up asks for one, in the same transaction. Once for a `ref`: a
    repetition returns the transaction of the first time. Raises Invalid or RefReused.
    """
    now = now or here()
    check_amount(amount)
    check_currency(currency)
    move = Movement(Transaction.Kind.BURN, clean_text("ref", ref), "", actor, now)
    with transaction.atomic():
        accounts = locked_accounts(currency)
        if done := _repeated(move, currency, amount):
            return done
        expire_in(accounts, currency, now)
        parts = _taken(in_burn_order(currency, now), amount)
        there_is = sum(part.amount for part in parts)
        if there_is < amount and not is_partial:
            raise CreditsExhausted(f"There are {there_is} credits, not {amount}: top up first.")
        burned = post(move, accounts, parts, asked=amount)
        request_if_low(currency=currency, balance=balance(currency, now=now), now=now)
    return burned


def void(*, actor: Actor, grant_id: UUID, reason: str, now: datetime | None = None) -> Transaction:
    """Take back what remains of a grant, once: a repetition returns the transaction of the first time.

    Raises NotFound, Invalid, or NothingToVoid when it is burned or expired.
    """
    now = now or here()
    found = Grant.objects.filter(pk=grant_id).first()
    if found is None:
        raise NotFound("There is no such grant.")
    reason = clean_text("reason", reason)
    with transaction.atomic():
        accounts = locked_accounts(found.currency)
        expire_in(accounts, found.currency, now)
        found.refresh_from_db(fields=["remaining"])
        before = Transaction.objects.filter(kind=Transaction.Kind.VOID, entries__grant=found).order_by("-id").distinct()
        if not found.remaining:
            if done := before.first():
                return done
            raise NothingToVoid("Nothing remains of this grant.")
        # a refund that failed may have brought some back since the first time
        ref = f"void:{grant_id}:{count}" if (count := before.count()) else f"void:{grant_id}"
        move = Movement(Transaction.Kind.VOID, ref, reason, actor, now)
        rest = Part(found, found.remaining, AccountKind.BALANCE, AccountKind.VOIDED)
        return post(move, accounts, [rest], asked=rest.amount)


def expire_due(*, now: datetime) -> int:
    """Expire what remains of grants whose end has passed, of every organization; returns how many grants.

    Each organization and currency is a transaction of its own; one that another worker holds is left to it. One that
    fails does not keep the others: it is logged, and ExpiryFailed is raised after them.
    """
    latest, expired, failed, after = furthest(now), 0, [], UUID(int=0)
    while True:
        with unscoped(reason="find organizations whose credits have expired") as wide:
            due = wide.rows("credits_due_to_expire", latest, after, PAGE)
        for row in due:
            after = row["organization_id"]
            try:
                with scope(after):
                    expired += expire(currencies=row["currencies"], now=organization().at(now))
            except Exception:
                log.exception("credits.expiry_failed organization=%s", after)
                failed.append(str(after))
        if len(due) < PAGE:
            break
    if failed:
        raise ExpiryFailed(", ".join(failed))
    return expired


def expire(*, currencies: Iterable[str], now: datetime) -> int:
    """Expire what is over of the organization in scope, unless another worker moves its credits; how many grants."""
    return sum(expire_in(accounts, one, now) for one in currencies if (accounts := _locked_if_free(one)))


def expire_in(accounts: dict[str, Account], currency: str, now: datetime) -> int:
    """Expire what is over among accounts that are locked; how many grants."""
    due = list(Grant.objects.filter(currency=currency, remaining__gt=0, expires_at__lte=now).order_by("id"))
    for ended in due:
        move = Movement(Transaction.Kind.EXPIRY, f"expiry:{ended.pk}", "", SYSTEM, now)
        rest = Part(ended, ended.remaining, AccountKind.BALANCE, AccountKind.EXPIRED)
        post(move, accounts, [rest], asked=rest.amount)
    return len(due)


def _taken(grants: Iterable[Grant], amount: int) -> list[Part]:
    parts = []
    for each in grants:
        part = min(each.remaining, amount)
        if not part:
            break
        parts.append(Part(each, part, AccountKind.BALANCE, AccountKind.BURNED))
        amount -= part
    return parts


def locked_accounts(currency: str) -> dict[str, Account]:
    """The organization's accounts by kind, opened if need be; its movements in the currency wait for each other."""
    lock = Account.objects.filter(currency=currency, kind=AccountKind.BALANCE).select_for_update(no_key=True)
    if lock.first() is None:
        _open_accounts(currency)
        lock.get()
    found = _accounts(currency)
    if len(found) < len(AccountKind):  # a kind is newer than they are
        _open_accounts(currency)
        found = _accounts(currency)
    return found


def _open_accounts(currency: str) -> None:
    Account.objects.bulk_create([Account(currency=currency, kind=kind) for kind in AccountKind], ignore_conflicts=True)


def _locked_if_free(currency: str) -> dict[str, Account]:
    rows = Account.objects.filter(currency=currency, kind=AccountKind.BALANCE)
    is_mine = rows.select_for_update(no_key=True, skip_locked=True).first() is not None
    return _accounts(currency) if is_mine else {}


def _accounts(currency: str) -> dict[str, Account]:
    return {account.kind: account for account in Account.objects.filter(currency=currency)}


def _repeated(move: Movement, currency: str, asked: int) -> Transaction | None:
    done = Transaction.objects.filter(ref=move.ref).first()
    if done is not None and (done.kind, done.currency, done.asked) != (move.kind, currency, asked):
        raise RefReused("This reference stands for another movement of credits: use a new one.")
    return done


ACTIONS: dict[Transaction.Kind, Action] = {
    Transaction.Kind.GRANT: actions.CREDITS_GRANTED,
    Transaction.Kind.BURN: actions.CREDITS_BURNED,
    Transaction.Kind.EXPIRY: actions.CREDITS_EXPIRED,
    Transaction.Kind.VOID: actions.CREDITS_VOIDED,
    Transaction.Kind.REFUND: actions.CREDITS_REFUNDED,
    Transaction.Kind.REFUND_FAILED: actions.CREDITS_RESTORED,
    Transaction.Kind.REPAYMENT: actions.CREDITS_REPAID,
}


def post(move: Movement, accounts: dict[str, Account], parts: Sequence[Part], *, asked: int) -> Transaction:
    """Write the transaction and its entries; PostgreSQL keeps the sums, and refuses it at commit unless it is zero."""
    currency = accounts[AccountKind.BALANCE].currency
    amount = sum(part.amount for part in parts)
    posted = Transaction.objects.create(
        kind=move.kind,
        currency=currency,
        asked=asked,
        amount=amount,
        ref=move.ref,
        reason=move.reason,
        author=asdict(move.actor),
        occurred_at=move.now,
    )
    Entry.objects.bulk_create(
        Entry(transaction=posted, account=account, grant=part.grant, amount=sign * part.amount)
        for part in parts
        for account, sign in ((accounts[part.source], -1), (accounts[part.sink], 1))
    )
    record(
        action=ACTIONS[move.kind],
        actor=move.actor,
        target=Target("credits", str(posted.pk), str(Money(amount, currency))),
        metadata={"amount": amount, "currency": currency},
        reason=move.reason,
    )
    return posted
