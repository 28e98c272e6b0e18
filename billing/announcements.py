"""Tells customers' webhook endpoints what happens to their money, in the transaction in which it happens."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from billing.dunning_terms import DunningState
from tenancy.webhooks import catalogue
from tenancy.webhooks.events import emit


class Invoiced(Protocol):
    """An invoice, as far as it is told."""

    id: UUID
    period_start: datetime
    period_end: datetime
    total: int
    currency: str


def threshold_crossed(row: Mapping[str, Any], *, sentence: str) -> None:
    """A part of a cap is used; at all of it the cap is reached as well, once for a cap and its span."""
    cap = {name: row[name] for name in ("allowance", "level", "subject_id", "span")}
    used = {"used": row["used"], "limit": row["cap"], "sentence": sentence}
    which = f"{row['allowance']}:{row['subject_id']}:{row['span']}:{row['starts_at']:%Y%m%dT%H%M%S}:{row['cap']}"
    percent = row["percent"]
    emit(catalogue.THRESHOLD_CROSSED, data={**cap, "percent": percent, **used}, key=f"crossed:{which}:{percent}")
    if percent >= 100:
        emit(catalogue.CAP_REACHED, data={**cap, **used}, key=f"reached:{which}")


def cap_lifted(*, allowance: str, level: str, subject_id: UUID, span: str, limit: int | None, key: str) -> None:
    """A cap holds nothing back any more: it was raised or taken away, or it counts anew (`limit`: what holds now)."""
    cap = {"allowance": allowance, "level": level, "subject_id": subject_id, "span": span, "limit": limit}
    emit(catalogue.CAP_LIFTED, data=cap, key=f"lifted:{key}")


def usage_unusual(*, meter: str, subject_id: UUID, since: datetime, used: int, sentence: str) -> None:
    """Use stands out, for as long as it does."""
    data = {"meter": meter, "subject_id": subject_id, "since": since, "used": used, "sentence": sentence}
    emit(catalogue.USAGE_UNUSUAL, data=data, key=f"unusual:{meter}:{subject_id}:{since:%Y%m%dT%H}")


def trial_ending(*, plan: str, ends_at: datetime, continues: bool, days: int) -> None:
    """A trial ends within so many days."""
    data = {"plan": plan, "ends_at": ends_at, "continues": continues}
    emit(catalogue.TRIAL_ENDING, data=data, key=f"trial:{plan}:{ends_at:%Y%m%d}:{days}")


def plan_changed(*, before: str, after: str, version: int) -> None:
    """The organization has another plan, from this version of its entitlements on."""
    if before != after:
        emit(catalogue.PLAN_CHANGED, data={"before": before, "after": after}, key=f"plan:{version}")


def payment_failed(*, invoice: str, amount: int, currency: str, since: datetime) -> None:
    """An invoice could not be paid, or was not paid in time."""
    data = {"invoice": invoice, "amount_due": amount, "currency": currency}
    emit(catalogue.PAYMENT_FAILED, data=data, key=f"unpaid:{invoice}:{since:%Y%m%dT%H%M%S}")


def access_changed(*, before: DunningState, after: DunningState, at: datetime, changes_at: datetime | None) -> None:
    """Overdue invoices have changed what the organization may do."""
    kind = catalogue.ACCESS_CHANGED["recovered" if after is DunningState.OK else after.value]
    key = f"access:{after}:{at:%Y%m%dT%H%M%S.%f}"
    emit(kind, data={"before": before.value, "changes_at": changes_at}, key=key)


def invoice_closed(invoice: Invoiced) -> None:
    """A period's invoice is final."""
    emit(catalogue.INVOICE_CLOSED, data=_told(invoice), key=f"invoice-closed:{invoice.id}")


def invoice_paid(invoice: Invoiced) -> None:
    """An invoice is paid."""
    emit(catalogue.INVOICE_PAID, data=_told(invoice), key=f"invoice-paid:{invoice.id}")


def _told(invoice: Invoiced) -> dict[str, Any]:
    return {
        "invoice_id": invoice.id,
        "number": str(invoice),
        "period_start": invoice.period_start,
        "period_end": invoice.period_end,
        "total": invoice.total,
        "currency": invoice.currency,
    }


def credits_low(*, balance: int, threshold: int, currency: str, top_up_id: UUID) -> None:
    """The credits have fallen so far that an automatic top-up is due."""
    data = {"balance": balance, "currency": currency, "threshold": threshold}
    emit(catalogue.CREDITS_LOW, data=data, key=f"low:{top_up_id}")


def credits_topped_up(*, amount: int, currency: str, top_up_id: UUID) -> None:
    """Bought credits are there."""
    emit(catalogue.CREDITS_TOPPED_UP, data={"amount": amount, "currency": currency}, key=f"topped-up:{top_up_id}")
