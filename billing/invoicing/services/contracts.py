"""Signs, begins and ends contracts: what was agreed with one customer, instead of a plan bought on a page."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError

from billing.invoicing.models import CommitPaid, Contract
from billing.invoicing.selectors.contracts import months_of
from billing.invoicing.services.agreements import MOST_SEATS, keep
from billing.invoicing.terms import allowances_as_json
from billing.metering.models import UsagePeriod
from billing.models import ENDED, Interval, Source, Status, Subscription
from billing.money import month_after
from billing.overrides import clean
from billing.plans import Allowance, Included, Plan, UnknownPlan, current, plan
from billing.services.entitlements import recompute
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.clock import furthest, here
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.scope import scope, unscoped
from tenancy.services import organizations

LONGEST_MONTHS = 120
LARGEST_AMOUNT = 10**11  # minor units: a thousand million dollars
LONGEST_NET_DAYS = 180
LONGEST_AHEAD_MONTHS = 24
PAGE = 500
CURRENCIES = ("usd", "eur", "gbp")
CONTRACT_LIMITS = ("project_limit", "key_limit", "requests_per_minute")  # members: see `seats`
log = logging.getLogger("billing.invoicing")


class BeginFailed(Exception):
    """Some contracts could not begin; the log says why, the next run tries again."""


class SubscriptionRuns(Conflict):
    """The organization pays for a plan already, by subscription or by another contract: that ends first."""

    code = "subscription_runs"


class ContractIsOver(Conflict):
    """The contract has ended already."""

    code = "contract_is_over"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a contract says. Amounts are minor units: `fee` and `seat_price` a month, each commit for a whole step.

    `steps` are (months, commit), the ramp. `allowances`, `seat_price` and `limits` stand in the plan's place where they
    are given. `contact` is whom of us the customer may ask.
    """

    reference: str
    plan_key: str
    starts_at: datetime
    steps: Sequence[tuple[int, int]]
    fee: int
    plan_version: int | None = None
    commit_paid: str = CommitPaid.TRUE_UP
    seats: int = 1
    seat_price: int | None = None
    currency: str = "usd"
    allowances: Mapping[Allowance, Included] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    net_days: int = 30
    po_number: str = ""
    contact: str = ""


def sign_contract(*, actor: Actor, offer: Offer, now: datetime | None = None) -> Contract:
    """Enter a contract of the organization in scope; it holds and is billed month by month from its start.

    Where that lies ahead, what runs now must end by then. Raises Invalid, or SubscriptionRuns.
    """
    now = now or here()
    agreed = _checked(offer, now)
    organizations.locked()
    live = Subscription.objects.exclude(status__in=ENDED).first()
    if live is not None and not _ends_by(live, max(offer.starts_at, now)):
        raise SubscriptionRuns("End the subscription or contract that runs first, or begin after its end.")
    if Contract.objects.filter(reference=offer.reference.strip()).exists():
        raise Invalid("reference", "Another contract has this reference.")
    ends_at = month_after(offer.starts_at, sum(months for months, _ in offer.steps))
    if Contract.objects.filter(ends_at__gt=offer.starts_at, starts_at__lt=ends_at).exists():
        raise Invalid("starts_at", "Another contract covers this time.")
    if ends_at <= now:
        raise Invalid("steps", "The contract would be over already.")
    newest = UsagePeriod.objects.order_by("-ends_at").first()
    if newest is not None and offer.starts_at < newest.ends_at:
        said = f"Use until {newest.ends_at:%d %B %Y, %H:%M} UTC has its period already: begin then, or later."
        raise Invalid("starts_at", said)
    contract = Contract.objects.create(
        reference=offer.reference.strip(),
        plan_key=agreed.key,
        plan_version=agreed.version,
        currency=offer.currency,
        starts_at=offer.starts_at,
        ends_at=ends_at,
        steps=[{"months": months, "commit": commit} for months, commit in offer.steps],
        commit_paid=offer.commit_paid,
        fee=offer.fee,
        seats=offer.seats,
        seat_price=offer.seat_price,
        allowances=allowances_as_json(offer.allowances),
        limits=dict(offer.limits),
        net_days=offer.net_days,
        po_number=offer.po_number.strip(),
        contact=offer.contact.strip(),
        author=actor.label,
    )
    record(
        action=actions.CONTRACT_SIGNED,
        actor=actor,
        target=_target(contract),
        metadata={
            "plan": f"{agreed.key} v{agreed.version}",
            "starts_at": contract.starts_at.isoformat(),
            "ends_at": contract.ends_at.isoformat(),
            "steps": contract.steps,
            "fee": contract.fee,
            "currency": contract.currency,
        },
    )
    if contract.starts_at <= now and live is None:
        _begin(contract, actor)
    return contract


def begin_due(*, now: datetime) -> int:
    """Let the contracts hold whose start has come, each in a transaction of its own; how many began.

    One whose predecessor has not ended waits for that: it is billed from its start all the same. Raises BeginFailed
    once the others are done.
    """
    latest, after, failed, begun = furthest(now), UUID(int=0), list[UUID](), 0
    while True:
        with unscoped(reason="find organizations whose contract begins") as wide:
            rows = wide.rows("invoicing_contracts_to_begin", latest, after, PAGE)
        for row in rows:
            after = row["organization_id"]
            try:
                begun += _begin_in_scope(after, now)
            except (DatabaseError, UnknownPlan):
                log.exception("contract.begin_failed organization=%s", after)
                failed.append(after)
        if len(rows) < PAGE:
            break
    if failed:
        raise BeginFailed(", ".join(map(str, failed)))
    return begun


def _begin_in_scope(organization_id: UUID, now: datetime) -> bool:
    with scope(organization_id):
        moment = organizations.locked().at(now)
        contract = Contract.objects.filter(subscription=None, starts_at__lte=moment, ends_at__gt=moment).first()
        if contract is None or Subscription.objects.exclude(status__in=ENDED).exists():
            return False
        _begin(contract, SYSTEM)
        record(action=actions.CONTRACT_BEGUN, actor=SYSTEM, target=_target(contract))
        return True


def _begin(contract: Contract, actor: Actor) -> None:
    """Give a contract its subscription, and the organization what it says."""
    contract.subscription = Subscription.objects.create(
        plan_key=contract.plan_key,
        plan_version=contract.plan_version,
        interval=Interval.MONTHLY,
        status=Status.ACTIVE,
        source=Source.CONTRACT,
        seats=contract.seats,
        period_start=contract.starts_at,
        period_end=contract.ends_at,
    )
    contract.save(update_fields=["subscription"])
    keep(contract.subscription, since=contract.starts_at, author=contract.author)
    recompute(actor=actor)


def _ends_by(live: Subscription, moment: datetime) -> bool:
    """Whether what runs has an end that was agreed, and not after the moment."""
    signed = Contract.objects.filter(subscription=live).first()
    end = signed.ends_at if signed else live.cancel_at
    return end is not None and end <= moment


def end_contract(*, actor: Actor, contract_id: Any, reason: str, now: datetime | None = None) -> Contract:
    """End a contract with the month that runs: the commit of the step that runs stays owed, later ones fall away.

    One that has not begun is withdrawn: nothing of it is owed, and its reference is free again. Raises NotFound,
    Invalid, or ContractIsOver.
    """
    organizations.locked()
    contract = Contract.objects.filter(pk=contract_id).first()
    if contract is None:
        raise NotFound("There is no such contract.")
    reason = reason.strip()
    if not reason:
        raise Invalid("reason", "Say why.")
    now = now or here()
    if contract.ended_early_at is not None or contract.ends_at <= now:
        raise ContractIsOver("This contract has ended already.")
    is_withdrawn = contract.subscription is None
    ends_at = contract.starts_at if is_withdrawn else months_of(contract, now)[-1][1]
    changes = actions.CONTRACT_ENDED.change(contract, {"ends_at": ends_at})
    contract.ended_early_at, contract.end_reason = now, reason[:500]
    if contract.subscription is None:
        Contract.objects.filter(pk=contract.pk).delete()
    else:
        contract.save(update_fields=["ends_at", "ended_early_at", "end_reason"])
        contract.subscription.cancel_at = contract.ends_at
        contract.subscription.save(update_fields=["cancel_at"])
    record(
        action=actions.CONTRACT_ENDED,
        actor=actor,
        target=_target(contract),
        changes=changes,
        reason=contract.end_reason,
    )
    recompute(actor=actor)
    return contract


def _checked(offer: Offer, now: datetime) -> Plan:
    if not offer.reference.strip() or len(offer.reference) > 64:
        raise Invalid("reference", "Give the contract a reference of at most 64 characters.")
    if len(offer.po_number) > 64:
        raise Invalid("po_number", "An order number has at most 64 characters.")
    if len(offer.contact) > 254:
        raise Invalid("contact", "A contact has at most 254 characters.")
    if offer.starts_at.tzinfo is None or offer.starts_at > month_after(now, LONGEST_AHEAD_MONTHS):
        raise Invalid("starts_at", f"A contract is entered at most {LONGEST_AHEAD_MONTHS} months before it starts.")
    if offer.currency not in CURRENCIES:
        raise Invalid("currency", f"Choose a currency: {', '.join(CURRENCIES)}.")
    if offer.commit_paid not in CommitPaid.values:
        raise Invalid("commit_paid", f"Choose when the commit is paid: {', '.join(CommitPaid.values)}.")
    _check_numbers(offer)
    for key, value in offer.limits.items():
        if key not in CONTRACT_LIMITS:
            raise Invalid("limits", f"Choose from {', '.join(CONTRACT_LIMITS)}.")
        clean(key, value)
    try:
        return plan(offer.plan_key, offer.plan_version) if offer.plan_version else current(offer.plan_key)
    except UnknownPlan as unknown:
        raise Invalid("plan_key", str(unknown)) from None


def _check_numbers(offer: Offer) -> None:
    months = sum(months for months, _ in offer.steps)
    if not 0 < months <= LONGEST_MONTHS or any(count < 1 for count, _ in offer.steps):
        raise Invalid("steps", f"A ramp has steps of whole months, {LONGEST_MONTHS} together at most.")
    amounts = (offer.fee, offer.seat_price or 0, *(commit for _, commit in offer.steps))
    if not all(0 <= amount <= LARGEST_AMOUNT for amount in amounts):
        raise Invalid("steps", "A fee, a seat's price or a commit is zero or more minor units.")
    if not 0 <= offer.net_days <= LONGEST_NET_DAYS:
        raise Invalid("net_days", f"Between 0 and {LONGEST_NET_DAYS} days.")
    if not 1 <= offer.seats <= MOST_SEATS:
        raise Invalid("seats", f"Between 1 and {MOST_SEATS} seats.")
    for one, included in offer.allowances.items():
        clean(f"included:{one}", included.quantity)
        clean(f"overage:{one}", included.overage)


def _target(contract: Contract) -> Target:
    return Target("contract", str(contract.pk), contract.reference)
