"""Reads the contract of the organization in scope, and what it makes of a plan."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from billing.invoicing.models import CommitPaid, Contract
from billing.invoicing.terms import Step, allowances_from_json, steps_of
from billing.money import month_after
from billing.plans import Allowance, Plan, plan

Period = tuple[datetime, datetime]


def contract_at(moment: datetime) -> Contract | None:
    """The contract that holds at a moment, if any."""
    return Contract.objects.filter(starts_at__lte=moment, ends_at__gt=moment).order_by("-starts_at").first()


def contracts() -> list[Contract]:
    """Every contract, newest first."""
    return list(Contract.objects.order_by("-starts_at"))


def agreed_plan(contract: Contract) -> Plan:
    """The plan's version with the contract's fee, seat price, allowances and limits in their place."""
    base = plan(contract.plan_key, contract.plan_version)
    allowances = {**base.allowances, **allowances_from_json(contract.allowances)}
    if contract.seat_price is not None:
        allowances[Allowance.SEATS] = replace(allowances[Allowance.SEATS], overage=Decimal(contract.seat_price))
    return replace(
        base,
        monthly=contract.fee,
        seat=base.seat if contract.seat_price is None else contract.seat_price,
        currency=contract.currency,
        allowances=allowances,
        limits={**base.limits, **contract.limits},
    )


def months_of(contract: Contract, until: datetime) -> list[Period]:
    """The contract's months that begin before `until`, none of them after its end."""
    result: list[Period] = []
    start = contract.starts_at
    while start < min(until, contract.ends_at):
        end = month_after(contract.starts_at, len(result) + 1)
        result.append((start, end))
        start = end
    return result


def ramp(contract: Contract) -> list[Step]:
    """The contract's steps in time."""
    return steps_of(
        starts_at=contract.starts_at,
        ends_at=contract.ends_at,
        steps=contract.steps,
        is_prepaid=contract.commit_paid == CommitPaid.PREPAID,
    )
