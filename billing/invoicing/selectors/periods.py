"""Reads, a page of organizations at once, which periods are over, under what, and what their invoices say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import orjson
from django.db import models

from billing.invoicing.models import Agreed, Contract, Invoice
from billing.invoicing.selectors.agreed import held_in
from billing.invoicing.selectors.contracts import ramp
from billing.invoicing.terms import Terms, step_at
from billing.invoicing.usage import Measured, summed
from billing.models import EntitlementOverride, Interval, Source, Subscription
from billing.money import month_after
from billing.overrides import applied_to_allowances
from billing.periods import Period, periods_after
from billing.plans import Allowance, Plan
from billing.selectors.agreements import beginning, stretches
from tenancy.scope import unscoped

MOMENT = timedelta(microseconds=1)
MOST_YEARS = 100
PAGE = 100  # organizations asked for at once
Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Over:
    """A period that is over, and what it was used under; on the free plan there is no subscription.

    `overrides` held when it ended, `agreed` is every row of the subscription, the oldest first.
    """

    period: Period
    follows: datetime | None
    subscription: Subscription | None
    contract: Contract | None
    overrides: tuple[EntitlementOverride, ...]
    agreed: tuple[Agreed, ...]


@dataclass(frozen=True, slots=True)
class Due:
    """An organization at its own time `moment`, and its periods that are over and not said to be yet.

    `ended` are contracts that are over while their subscription is not.
    """

    organization_id: UUID
    moment: datetime
    po_number: str
    periods: tuple[Over, ...]
    ended: tuple[Contract, ...]


@dataclass(frozen=True, slots=True)
class Late:
    """What closings since the last invoice told about a period that was billed: what it came to then, and now."""

    invoice: Invoice
    before: Measured
    now: Measured


@dataclass(frozen=True, slots=True)
class Ready:
    """A draft whose period is closed, at its organization's own time `moment`, with all that its lines say.

    `numbers` is how many invoices have a number of ours.
    """

    moment: datetime
    invoice: Invoice
    seen: Measured
    late: tuple[Late, ...]
    numbers: int
    has_credits: bool


def due(now: datetime, *, only: UUID | None = None) -> Iterator[list[Due]]:
    """Pages of the organizations that may have come to the end of a period at the real moment `now`; a query a page."""
    after = UUID(int=0)
    while True:
        with unscoped(reason="find organizations whose period is over") as wide:
            rows = wide.rows("invoicing_due", now, only, after, PAGE)
        yield [_due(row) for row in rows]
        if len(rows) < PAGE:
            return
        after = rows[-1]["organization_id"]


def ready(now: datetime, *, only: UUID | None = None) -> Iterator[list[list[Ready]]]:
    """Pages of the drafts whose periods are closed, those of an organization together and in order; a query a page."""
    after = UUID(int=0)
    while True:
        with unscoped(reason="find drafts whose period is closed") as wide:
            rows = wide.rows("invoicing_to_open", now, only, after, PAGE)
        found: dict[UUID, list[Ready]] = {}
        for row in rows:
            found.setdefault(row["organization_id"], []).append(_ready(row))
        yield list(found.values())
        if len(found) < PAGE:
            return
        after = rows[-1]["organization_id"]


def _due(row: Mapping[str, Any]) -> Due:
    contracts, subscriptions = _rows(Contract, row["contracts"]), _rows(Subscription, row["subscriptions"])
    overrides, agreed = _rows(EntitlementOverride, row["overrides"]), _rows(Agreed, row["agreed"])
    known = stretches(subscriptions, contracts)
    end: datetime | None = row["closed_until"]
    periods = []
    for period, stretch in periods_after(end or beginning(row["created_at"], known), known):
        subscription, contract = stretch.agreed if stretch else (None, None)
        if period[1] > row["moment"] or (contract is not None and subscription is None):
            break  # it is not over, or its contract has not begun yet, as it should have
        held = tuple(one for one in overrides if _held(one, period[1] - MOMENT))
        mine = tuple(one for one in agreed if subscription and one.subscription_id == subscription.pk)
        periods.append(Over(period, end, subscription, contract, held, mine))
        end = period[1]
    live = {one.pk for one in subscriptions if one.ended_at is None}
    over = tuple(one for one in contracts if one.ends_at <= row["moment"] and one.subscription_id in live)
    return Due(row["organization_id"], row["moment"], row["po_number"], tuple(periods), over)


def _held(override: EntitlementOverride, moment: datetime) -> bool:
    is_there = override.holds_from is not None and override.holds_from <= moment < override.expires_at
    return is_there and (override.ended_at is None or override.ended_at > moment)


def _ready(row: Mapping[str, Any]) -> Ready:
    invoice = _row(Invoice, orjson.loads(row["invoice"]))
    invoice.contract = _row(Contract, orjson.loads(row["contract"])) if row["contract"] else None
    totals, watermark, told = orjson.loads(row["totals"]), row["watermark"], orjson.loads(row["late"])
    late = tuple(
        Late(_row(Invoice, one["invoice"]), _measured(told["after"], one["before"]), _measured(watermark, one["now"]))
        for one in told["periods"]
    )
    seen = _measured(watermark, {meter: sums["quantity"] for meter, sums in totals.items()})
    return Ready(row["moment"], invoice, seen, late, row["numbers"], row["has_credits"])


def _measured(watermark: str, meters: Mapping[str, int]) -> Measured:
    return summed(watermark, [(meter, None, quantity) for meter, quantity in meters.items()])


def _rows(model: type[Row], kept: str) -> list[Row]:
    return [_row(model, one) for one in orjson.loads(kept)]


def _row(model: type[Row], kept: Mapping[str, Any]) -> Row:
    """A row of a table that PostgreSQL has handed out as JSON."""
    fields = model._meta.concrete_fields
    values = [field.to_python(kept[str(field.column)]) for field in fields]
    return model.from_db("default", [field.attname for field in fields], values)


def terms_of(over: Over) -> Terms:
    """What a period is priced by: the plan's version, the contract, and what was granted beside it at its end.

    Of a plan that Stripe collects the fixed price and the seats for, use alone is ours to price. It asks no database.
    """
    period, subscription, contract = over.period, over.subscription, over.contract
    assert subscription is not None  # noqa: S101  # on the free plan nothing is priced
    granted = {one.key: one.value for one in over.overrides}
    held, parts = held_in(period, subscription, contract, over.agreed, granted)
    agreed = held.plan
    allowances = applied_to_allowances(agreed.allowances, granted)
    is_collected_elsewhere = subscription.source == Source.STRIPE
    if is_collected_elsewhere:
        del allowances[Allowance.SEATS]
    return Terms(
        plan_key=agreed.key,
        plan_version=agreed.version,
        currency=agreed.currency,
        fee=0 if is_collected_elsewhere else _fee(subscription, agreed, period),
        seats=0 if is_collected_elsewhere else held.seats,
        allowances=allowances,
        step=step_at(period[0], ramp(contract)) if contract else None,
        is_free=subscription.trial_end is not None and subscription.trial_end >= period[1],
        parts=parts,
    )


def _fee(subscription: Subscription, agreed: Plan, period: Period) -> int:
    """The fixed price: every month, or with the first month of each year."""
    if subscription.interval == Interval.MONTHLY:
        return agreed.monthly
    years = {month_after(subscription.period_start, 12 * year) for year in range(MOST_YEARS)}
    return agreed.yearly if period[0] in years else 0


def drafted(one: Due) -> Sequence[tuple[Over, Invoice | None]]:
    """Each period of an organization with its draft, if there is anything to be said. Raises UnknownPlan."""
    return [(over, _draft(one, over)) for over in one.periods]


def _draft(one: Due, over: Over) -> Invoice | None:
    if over.subscription is None:
        return None
    terms, contract = terms_of(over), over.contract
    return Invoice(
        organization_id=one.organization_id,
        period_start=over.period[0],
        period_end=over.period[1],
        source=Invoice.Source.STRIPE if over.subscription.source == Source.STRIPE else Invoice.Source.MANUAL,
        currency=terms.currency,
        contract=contract,
        terms=terms.as_json(),
        po_number=contract.po_number if contract else one.po_number,
        created_at=one.moment,
    )
