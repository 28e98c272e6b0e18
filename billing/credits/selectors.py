"""Reads of the credits ledger for the organization in scope; amounts are minor units."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from billing.credits.models import Account, AccountKind, AutoTopUp, Entry, Grant, TopUp, Transaction
from tenancy.clock import here

LARGEST_PAGE = 200


@dataclass(frozen=True, slots=True)
class GrantUse:
    """A grant and what became of it: amount = remaining + burned + expired + voided + repaid."""

    grant: Grant
    burned: int
    expired: int
    voided: int
    repaid: int  # of what was owed for earlier ones


def balance(currency: str, *, now: datetime | None = None) -> int:
    """What can be burned now; an expired grant counts no more, also before the sweep has seen it."""
    found = in_burn_order(currency, now or here()).aggregate(sum=Coalesce(Sum("remaining"), 0))
    return int(found["sum"])


def in_burn_order(currency: str, now: datetime) -> QuerySet[Grant]:
    """Grants that can be burned, first the one that will be: by priority, then by expiry, then the oldest."""
    alive = Grant.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), currency=currency, remaining__gt=0)
    return alive.order_by("priority", F("expires_at").asc(nulls_last=True), "id")


def grants(limit: int = 50) -> list[GrantUse]:
    """Grants, newest first, with what became of each."""

    def sum_in(kind: AccountKind) -> Coalesce:
        return Coalesce(Sum("entries__amount", filter=Q(entries__account__kind=kind)), 0)

    repayments = Q(entries__account__kind=AccountKind.OWED, entries__transaction__kind=Transaction.Kind.REPAYMENT)
    rows = Grant.objects.order_by("-id").annotate(
        burned=sum_in(AccountKind.BURNED),
        expired=sum_in(AccountKind.EXPIRED),
        voided=sum_in(AccountKind.VOIDED),
        repaid=Coalesce(Sum("entries__amount", filter=repayments), 0),
    )
    page = rows[: min(limit, LARGEST_PAGE)]
    return [GrantUse(row, row.burned, row.expired, row.voided, row.repaid) for row in page]


def entries(*, after: UUID | None = None, limit: int = 50) -> list[Transaction]:
    """Transactions with their entries, accounts and grants, newest first; `after` is the last id of the page before."""
    rows = Transaction.objects.prefetch_related("entries__account", "entries__grant").order_by("-id")
    if after is not None:
        rows = rows.filter(id__lt=after)
    return list(rows[: min(limit, LARGEST_PAGE)])


def accounts(currency: str) -> dict[AccountKind, int]:
    """What every account holds; they sum to zero."""
    held = dict.fromkeys(AccountKind, 0)
    return held | {AccountKind(a.kind): a.balance for a in Account.objects.filter(currency=currency)}


def owed(currency: str) -> int:
    """What was spent of credits whose payment was given back: the next purchase pays it first."""
    return -accounts(currency)[AccountKind.OWED]


def earned(currency: str, *, since: datetime, until: datetime) -> dict[str, int]:
    """What was burned in the time, by the category of its grant: the paid part became revenue, the others did not."""
    rows = Entry.objects.filter(
        account__kind=AccountKind.BURNED,
        account__currency=currency,
        transaction__occurred_at__gte=since,
        transaction__occurred_at__lt=until,
    )
    return dict(rows.values_list("grant__category").annotate(sum=Sum("amount")).order_by("grant__category"))


def auto_top_up(currency: str) -> AutoTopUp | None:
    """What the customer chose, also when a failed payment has stopped it (`stopped_at`, `stop_reason`)."""
    return AutoTopUp.objects.filter(currency=currency).first()


def top_ups(limit: int = 50) -> list[TopUp]:
    """Purchases of credits, newest first."""
    return list(TopUp.objects.order_by("-id")[: min(limit, LARGEST_PAGE)])
