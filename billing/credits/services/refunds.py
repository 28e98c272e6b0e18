"""Takes back the credits of a purchase whose payment was given back: what is left is void, what was spent is owed."""

from datetime import datetime

from django.db import transaction
from django.db.models import Sum

from billing.credits.models import AccountKind, Category, Entry, Grant, TopUp, Transaction
from billing.credits.services.ledger import Movement, Part, expire_in, grant, locked_accounts, post
from billing.money import share
from tenancy.audit.services import SYSTEM
from tenancy.clock import here

SPENT = (AccountKind.BURNED, AccountKind.OWED)  # where credits go that something was had for


def take_back(*, invoice_ref: str, refund_ref: str, amount: int, total: int, now: datetime | None = None) -> None:
    """`amount` minor units of a purchase's invoice over `total` were given back by `refund_ref`; once for each.

    Nothing for an invoice that bought no credits, or whose credits are not there yet: ask again when they are.
    """
    now = now or here()
    with transaction.atomic():
        bought = TopUp.objects.filter(payment_ref=invoice_ref, state=TopUp.State.PAID).first()
        if bought is None:
            return
        accounts = locked_accounts(bought.currency)
        move = Movement(Transaction.Kind.REFUND, f"refund:{refund_ref}", f"Refund {refund_ref}", SYSTEM, now)
        if Transaction.objects.filter(ref=move.ref).exists():
            return
        expire_in(accounts, bought.currency, now)
        given = Grant.objects.get(
            entries__transaction__ref=f"top-up:{bought.pk}", entries__account__kind=AccountKind.BALANCE
        )
        asked = share(bought.amount, amount, total)
        void = min(given.remaining, asked)
        owed = min(_spent(given), asked - void)
        parts = [
            Part(given, void, AccountKind.BALANCE, AccountKind.VOIDED),
            Part(given, owed, AccountKind.OWED, AccountKind.PAID),
        ]
        post(move, accounts, [part for part in parts if part.amount], asked=asked)


def restore(*, refund_ref: str, now: datetime | None = None) -> None:
    """A refund failed, so the money is ours again: what it took back is there again; once, however often it is told.

    What was owed for it and has been paid since comes back as credits.
    """
    now = now or here()
    with transaction.atomic():
        taken = Transaction.objects.filter(ref=f"refund:{refund_ref}").first()
        if taken is None:
            return
        accounts = locked_accounts(taken.currency)
        ref, reason = f"refund-failed:{refund_ref}", f"Refund {refund_ref} failed"
        if Transaction.objects.filter(ref=ref).exists():
            return
        voided = Entry.objects.filter(transaction=taken, account__kind=AccountKind.VOIDED).first()
        owed = Entry.objects.filter(transaction=taken, account__kind=AccountKind.PAID).first()
        still_owed = min(owed.amount, -accounts[AccountKind.OWED].balance) if owed else 0
        parts = []
        if voided:
            parts.append(Part(voided.grant, voided.amount, AccountKind.VOIDED, AccountKind.BALANCE))
        if owed and still_owed:
            parts.append(Part(owed.grant, still_owed, AccountKind.PAID, AccountKind.OWED))
        move = Movement(Transaction.Kind.REFUND_FAILED, ref, reason, SYSTEM, now)
        post(move, accounts, parts, asked=taken.amount)
        if owed and owed.amount > still_owed:
            grant(
                actor=SYSTEM,
                amount=owed.amount - still_owed,
                currency=taken.currency,
                category=Category.ADJUSTMENT,
                reason=reason,
                ref=f"{ref}:repaid",
                now=now,
            )


def _spent(given: Grant) -> int:
    """What was had of a grant and is not owed for yet: burned, or used to pay for earlier ones."""
    found = Entry.objects.filter(grant=given, account__kind__in=SPENT).aggregate(sum=Sum("amount"))["sum"]
    return int(found or 0)
